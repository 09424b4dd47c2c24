#include "core/broker/fan_out.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/broker/parts.hpp"

namespace millrace::broker {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class Publish : public testing::Test {
 protected:
  explicit Publish(const ProcessorLimits& limits = {}) : parts(limits) {}

  std::vector<std::string> payloads(Client& client) {
    parts.next_batch();
    return client.take_payloads();
  }

  Parts parts;
};

TEST_F(Publish, ReachesEachThatTheRouteNamesAndCountsThem) {
  Client& one = parts.client();
  Client& two = parts.client();
  Client& member = parts.client();
  parts.subscribe(one, to("a/+"));
  parts.subscribe(one, to("a/#"));
  parts.subscribe(two, to("#", 0, Mode::latest));
  parts.subscribe(member, shared("g", "a/b", 0));
  parts.subscribe(parts.client(), to("b"));
  EXPECT_EQ(parts.publish(message("a/b", "v")), 3u) << "two sessions and a group";
  EXPECT_THAT(payloads(one), ElementsAre("v")) << "one copy for both subscriptions";
  EXPECT_THAT(two.take_payloads(), ElementsAre("v"));
  EXPECT_THAT(member.take_payloads(), ElementsAre("v"));
}

TEST_F(Publish, IsForNobodyIfNobodySubscribesOrNoMemberCanTakeIt) {
  EXPECT_EQ(parts.publish(message("a", "v")), 0u);
  Client& member = parts.client();
  parts.subscribe(member, shared("g", "a", 0));
  EXPECT_EQ(parts.publish(message("a", "v")), 1u);
  member.lose_connection();
  parts.router.update_groups(member.session);
  EXPECT_EQ(parts.publish(message("a", "v", 1, false, 1)), 0u);
}

TEST_F(Publish, GoesToOneMemberOfAGroupAndSaysIfNoneCanTakeIt) {
  Client& one = parts.client();
  Client& two = parts.client();
  for (Client* client : {&one, &two}) parts.subscribe(*client, shared("g", "a", 1));
  SharedGroup& group = *parts.router.route_of(parts.topic("a")).groups.at(0).group;
  Message what = message("a", "left", 1, false, 1);
  PublishContext context(what);
  ASSERT_TRUE(parts.fan_out.to_group(RouteGroup(group), context));
  parts.next_batch();
  EXPECT_EQ(one.take_payloads().size() + two.take_payloads().size(), 1u);
  for (Client* client : {&one, &two}) {
    client->lose_connection();
    parts.router.update_groups(client->session);
  }
  Message live = message("a", "live");
  PublishContext at_qos0(live);
  EXPECT_FALSE(parts.fan_out.to_group(RouteGroup(group), at_qos0));
}

TEST_F(Publish, DoesNotComeBackToWhoWantsNoLocal) {
  Client& publisher = parts.client();
  Client& other = parts.client();
  SubscriptionRequest no_local = to("a");
  no_local.no_local = true;
  for (Client* client : {&publisher, &other}) parts.subscribe(*client, no_local);
  parts.publish(message("a", "own"), &publisher.session);
  parts.publish(message("a", "a will"));
  EXPECT_THAT(payloads(publisher), ElementsAre("a will"));
  EXPECT_THAT(other.take_payloads(), ElementsAre("own", "a will"));
}

TEST_F(Publish, IsStoredAtTheEndOfTheBatchWhoeverGetsIt) {
  parts.subscribe(parts.client(), to("a", 1));
  parts.publish(message("a", "1", 1, true, 1));
  parts.publish(message("a", "2", 1, false, 2));
  parts.next_batch();
  const Topic& topic = *parts.values.topics().find(topic_hash("a"), "a");
  EXPECT_EQ(text_of(message_of(topic.newest())), "2");
  EXPECT_EQ(text_of(message_of(topic.retained)), "1");
}

// A session that was gone when a message came has it, at QoS 1, when it is back; at QoS 0 it has not.
TEST_F(Publish, WaitsAtQoS1ForWhoIsAway) {
  Client& client = parts.client();
  parts.subscribe(client, to("a", 1));
  client.lose_connection();
  EXPECT_EQ(parts.publish(message("a", "0")), 1u);
  EXPECT_EQ(parts.publish(message("a", "1", 1, false, 1)), 1u);
  client.connect();
  parts.deliverer.serve_later(client.session);
  EXPECT_THAT(payloads(client), ElementsAre("1"));
}

Message request_of(std::string_view topic, std::string_view payload) {
  Command command = request(topic, payload, 1);
  return std::move(command.get_if<command::Publish>()->message);
}

TEST_F(Publish, OfARequestComesAfterTheValuesThatRateLimitsHoldBack) {
  Client& client = parts.client();
  parts.subscribe(client, limited("a"));
  parts.publish(message("a", "first"));
  EXPECT_THAT(payloads(client), ElementsAre("first"));
  parts.publish(message("a", "held"));
  EXPECT_THAT(payloads(client), IsEmpty());
  parts.publish(request_of("a", "request"));
  EXPECT_THAT(payloads(client), ElementsAre("held", "request"));
}

ProcessorLimits small_credit() {
  ProcessorLimits limits;
  limits.credit_bytes = limits.credit_max_bytes = 60;
  limits.credit_latest_bytes = 20;
  limits.adaptive_backlog_bytes = 200;
  limits.queue_messages = 100'000;
  return limits;
}

struct PublishToSlowReaders : Publish {
  PublishToSlowReaders() : Publish(small_credit()) {}

  void drain(Client& client, std::uint32_t bytes) {
    bytes = std::min(bytes, client.session.outbox->outstanding_bytes);
    parts.deliverer.apply(client.session, command::Drained{bytes, false});
  }
};

// Each subscriber has the messages of a topic in the order of their numbers, whatever its mode, and
// the last of them; `every` has each.
TEST_F(PublishToSlowReaders, KeepsTheOrderOfEachTopicForEachSubscriber) {
  std::minstd_rand random(4);
  constexpr int topics = 3;
  constexpr int publishes = 4000;
  struct Reader {
    Client& client;
    Mode mode;
    std::map<int, std::vector<int>> got;  // by topic
    void take() {
      for (const std::string& payload : client.take_payloads()) {
        got[payload[0] - '0'].push_back(std::stoi(payload.substr(2)));
      }
    }
  };
  std::vector<Reader> readers;
  for (const Mode mode : {Mode::latest, Mode::adaptive, Mode::every}) {
    Client& client = parts.client();
    parts.subscribe(client, to("t/#", 0, mode));
    parts.subscribe(client, to("t/+", 0, Mode::latest));
    readers.push_back({client, mode, {}});
  }
  std::map<int, std::vector<int>> sent;
  for (int i = 0; i < publishes; ++i) {
    const int topic = static_cast<int>(random() % topics);
    sent[topic].push_back(i);
    const std::string name = std::to_string(topic);
    const Message what = message("t/" + name, name + " " + std::to_string(i));
    parts.publish(random() % 2 == 0 ? slice_of(what) : what);
    Reader& reader = readers[random() % readers.size()];
    if (random() % 3 == 0) drain(reader.client, static_cast<std::uint32_t>(random() % 80));
    if (random() % 4 != 0) continue;
    parts.next_batch(1'000'000);
    for (Reader& one : readers) one.take();
  }
  parts.next_batch();
  for (Reader& one : readers) {
    one.take();
    for (int rounds = 0; rounds < publishes && !one.client.session.pending.empty(); ++rounds) {
      drain(one.client, UINT32_MAX);
      parts.next_batch();
      one.take();
    }
    ASSERT_EQ(one.got.size(), sent.size());
    for (auto& [topic, numbers] : one.got) {
      EXPECT_TRUE(std::ranges::is_sorted(numbers));
      EXPECT_EQ(std::ranges::adjacent_find(numbers), numbers.end()) << "none twice";
      EXPECT_EQ(numbers.back(), sent[topic].back());
    }
    if (one.mode == Mode::every) {
      EXPECT_EQ(one.got, sent);
    } else {
      EXPECT_GT(parts.batch.stats().conflated.value(), 0u);
    }
  }
}

}  // namespace
}  // namespace millrace::broker
