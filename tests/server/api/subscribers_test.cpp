// Who would get a message of a topic, as the processor answers the management API.
#include "server/api/subscribers.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/config/session_name.hpp"
#include "tests/broker/world.hpp"

namespace millrace::server {
namespace {

using broker::World;
using Kind = Subscriber::Kind;

// Its answer comes within some batches.
class Question {
 public:
  Question(World& world, std::string topic) {
    world.apply({nullptr, broker::command::Inquire{std::make_unique<SubscribersInquiry>(
                              std::move(topic), asker_,
                              [this](Subscribers found) { answer = std::move(found); })}});
  }
  std::optional<Subscribers> answer;

 private:
  const std::shared_ptr<int> asker_ = std::make_shared<int>();
};

Subscribers ask(World& world, std::string topic) {
  Question question(world, std::move(topic));
  world.run_until_idle();
  EXPECT_TRUE(question.answer);
  Subscribers found = question.answer.value_or(Subscribers());
  std::sort(found.shown.begin(), found.shown.end(),
            [](const Subscriber& a, const Subscriber& b) { return a.filter < b.filter; });
  return found;
}

TEST(Subscribers, AreThoseWhoseFilterMatches) {
  World world;
  world.peer("here").connect().subscribe("a/+", 1).subscribe("b");
  world.peer("away").connect(false, 100).subscribe("a/b", 1, broker::Mode::every).close();
  const Subscribers found = ask(world, "a/b");
  ASSERT_EQ(found.shown.size(), 2u);
  EXPECT_EQ(found.count, 2u);
  EXPECT_EQ(found.shown[0].name, "here");
  EXPECT_EQ(found.shown[0].filter, "a/+");
  EXPECT_TRUE(found.shown[0].connected);
  EXPECT_EQ(found.shown[1].name, "away");
  EXPECT_EQ(found.shown[1].mode, broker::Mode::every);
  EXPECT_FALSE(found.shown[1].connected);
  EXPECT_EQ(ask(world, "c").count, 0u);
}

TEST(Subscribers, AreNamedByIdentifierAndUser) {
  World world;
  world.peer(name_of_session("ann", "lamp")).connect().subscribe("a");
  world.peer(name_of_link("upstream/far")).connect().subscribe("#");
  const auto shown = json_of("a", ask(world, "a"))["subscriptions"];
  ASSERT_EQ(shown.size(), 2u);
  EXPECT_EQ(shown[0]["client"], "upstream/far");
  EXPECT_EQ(shown[0]["user"], nullptr);
  EXPECT_EQ(shown[0]["link"], true);
  EXPECT_EQ(shown[1]["client"], "lamp");
  EXPECT_EQ(shown[1]["user"], "ann");
  EXPECT_EQ(shown[1]["link"], false);
}

TEST(Subscribers, AreNotThoseWhoseSessionHasEnded) {
  broker::ProcessorLimits limits;
  limits.removals_per_batch = 1;
  World world(limits);
  auto& peer = world.peer("c").connect();
  for (int i = 0; i < 200; ++i) peer.subscribe("f/" + std::to_string(i));
  peer.subscribe("a").close();
  EXPECT_EQ(ask(world, "a").count, 0u);
}

TEST(Subscribers, SayWhetherTheRulesLetThemRead) {
  World world;
  broker::SubscriptionRequest wanted;
  wanted.name = wanted.filter = "#";
  wanted.rules =
      std::make_shared<const broker::TopicRules>(std::vector<broker::TopicRule>{}, false);
  world.peer("c").connect().subscribe(wanted);
  const Subscribers found = ask(world, "a");
  ASSERT_EQ(found.shown.size(), 1u);
  EXPECT_FALSE(found.shown[0].may_read);
}

TEST(Subscribers, HaveASharedGroupOnceWithItsMembers) {
  World world;
  for (const char* name : {"one", "two"}) {
    broker::SubscriptionRequest wanted;
    wanted.name = "$share/g/a/#";
    wanted.filter = "a/#";
    wanted.share_group = "g";
    world.peer(name).connect().subscribe(wanted);
  }
  const Subscribers found = ask(world, "a/b");
  ASSERT_EQ(found.shown.size(), 1u);
  EXPECT_EQ(found.shown[0].kind, Kind::group);
  EXPECT_EQ(found.shown[0].name, "g");
  EXPECT_EQ(found.shown[0].members, 2u);
}

TEST(Subscribers, AreCountedBeyondThoseThatAreShown) {
  World world;
  const std::size_t count = SubscribersInquiry::shown_max + 5;
  for (std::size_t i = 0; i < count; ++i)
    world.peer("c" + std::to_string(i)).connect().subscribe("a");
  const Subscribers found = ask(world, "a");
  EXPECT_EQ(found.shown.size(), SubscribersInquiry::shown_max);
  EXPECT_EQ(found.count, count);
  EXPECT_EQ(json_of("a", found)["more"], true);
}

TEST(Subscribers, HaveTheRateThatTheyAskedFor) {
  World world;
  world.peer("c").connect().subscribe(broker::limited("a", 250));
  const Subscribers found = ask(world, "a");
  ASSERT_EQ(found.shown.size(), 1u);
  EXPECT_EQ(found.shown[0].interval_ms, 250u);
  EXPECT_EQ(json_of("a", found)["subscriptions"][0]["interval_ms"], 250);
}

// --- While messages go on ------------------------------------------------------------------------

broker::ProcessorLimits limits_of_inquiries(std::uint32_t sessions_per_batch) {
  broker::ProcessorLimits limits;
  limits.inquiry_sessions_per_batch = sessions_per_batch;
  return limits;
}

std::string name_of(int number) {
  return "c" + std::to_string(number);
}

std::multiset<std::string> names(const Subscribers& found) {
  std::multiset<std::string> names;
  for (const Subscriber& one : found.shown) names.insert(one.name);
  return names;
}

// A client that reads what another one publishes.
class Talk {
 public:
  explicit Talk(World& world) : reader_(world.peer("reader")), writer_(world.peer("writer")) {
    reader_.connect().subscribe("news").read();
    writer_.connect();
  }
  // A message in each batch until there is the answer; each has to be with its reader after that
  // batch. Returns how many.
  int go_on_until_answered(const Question& question) {
    int published = 0;
    for (; !question.answer && published < 100'000; ++published) {
      const std::string value = std::to_string(published);
      writer_.publish("news", value);
      reader_.take();
      if (reader_.got.empty() || reader_.got.back().payload != value) {
        ADD_FAILURE() << "message " << value << " is not there after its batch";
        break;
      }
    }
    return published;
  }

 private:
  broker::Peer& reader_;
  broker::Peer& writer_;
};

void subscribe_together(World& world, int count, const std::string& filter) {
  world.joins = [] { return true; };  // in few batches, which is quicker
  for (int i = 0; i < count; ++i) world.peer(name_of(i)).connect().subscribe(filter);
  world.joins = {};
  world.run_until_idle();
}

void close_together(World& world) {
  world.joins = [] { return true; };
  for (const auto& peer : world.peers) peer->close();
  world.joins = {};
  world.run_until_idle();
}

TEST(Subscribers, AreLookedAtInSlicesBetweenWhichMessagesPass) {
  World world(limits_of_inquiries(20));
  Talk talk(world);
  subscribe_together(world, 500, "a/#");
  Question question(world, "a/b");
  EXPECT_GE(talk.go_on_until_answered(question), 500 / 20 - 1);
  ASSERT_TRUE(question.answer);
  EXPECT_EQ(question.answer->count, 500u);
  EXPECT_EQ(names(*question.answer).size(), 500u);
}

TEST(Subscribers, AreCountedByTheHundredThousandWithoutBeingLookedAt) {
  World world;
  Talk talk(world);
  subscribe_together(world, 100'000, "a");
  Question question(world, "a");
  EXPECT_LE(talk.go_on_until_answered(question), 4) << "only those that are shown take time";
  ASSERT_TRUE(question.answer);
  EXPECT_EQ(question.answer->count, 100'000u);
  EXPECT_EQ(question.answer->shown.size(), SubscribersInquiry::shown_max);
  close_together(world);
}

TEST(Subscribers, OfManyFiltersAreLookedAtInSlices) {
  constexpr unsigned levels = 16, filters = 40'000;  // of 2^16 that match
  broker::ProcessorLimits limits;
  limits.subscriptions_max = filters;
  World world(limits);
  Talk talk(world);
  world.joins = [] { return true; };
  auto& peer = world.peer("c").connect();
  std::string topic = "a";
  for (unsigned i = 1; i < levels; ++i) topic += "/a";
  for (unsigned number = 0; number < filters; ++number) {
    std::string filter = topic;
    for (unsigned i = 0; i < levels; ++i) {
      if ((number >> i & 1) != 0) filter[std::size_t{2} * i] = '+';
    }
    peer.subscribe(filter);
  }
  world.joins = {};
  world.run_until_idle();
  Question question(world, topic);
  EXPECT_GE(talk.go_on_until_answered(question),
            static_cast<int>(filters / limits.inquiry_sessions_per_batch));
  ASSERT_TRUE(question.answer);
  EXPECT_EQ(question.answer->count, std::size_t{filters});
}

TEST(Subscribers, ThatAreThereThroughoutAreShownOnceWhileOthersComeAndGo) {
  World world(limits_of_inquiries(7));
  std::vector<broker::Peer*> all;
  for (int i = 0; i < 300; ++i) all.push_back(&world.peer(name_of(i)).connect().subscribe("a"));
  Question question(world, "a");
  // The last ones take the places of those that go, and were looked at already.
  for (int i = 0; i < 300; i += 3) {
    if (question.answer) break;
    all[static_cast<std::size_t>(i)]->unsubscribe("a");
    world.peer("new" + std::to_string(i)).connect().subscribe("a");
  }
  world.run_until_idle();
  ASSERT_TRUE(question.answer);
  const auto shown = names(*question.answer);
  for (int i = 0; i < 300; ++i) {
    if (i % 3 == 0) continue;
    EXPECT_EQ(shown.count(name_of(i)), 1u) << i;
  }
  for (const std::string& name : shown) EXPECT_EQ(shown.count(name), 1u) << name;
}

TEST(Subscribers, AreNotThoseOfAnotherFilterThatStandsWhereTheirsStood) {
  World world(limits_of_inquiries(7));
  auto& peer = world.peer("c").connect().subscribe("a");
  for (int i = 0; i < 20; ++i) world.peer(name_of(i)).connect().subscribe("a");
  Question question(world, "a");
  ASSERT_FALSE(question.answer);
  // In one batch all go, and another filter is given the place.
  world.joins = [] { return true; };
  for (const auto& one : world.peers) one->unsubscribe("a");
  for (int i = 0; i < 20; ++i) peer.subscribe("z" + std::to_string(i));
  world.joins = {};
  world.run_until_idle();
  ASSERT_TRUE(question.answer);
  for (const Subscriber& one : question.answer->shown) EXPECT_EQ(one.filter, "a");
  EXPECT_LE(question.answer->count, 7u);
}

TEST(Subscribers, AreNotLookedForOnceNobodyAsks) {
  World world;
  world.peer("c").connect().subscribe("a");
  bool answered = false;
  world.apply({nullptr, broker::command::Inquire{std::make_unique<SubscribersInquiry>(
                            "a", std::weak_ptr<void>(), [&](Subscribers) { answered = true; })}});
  world.run_until_idle();
  EXPECT_FALSE(answered);
}

}  // namespace
}  // namespace millrace::server
