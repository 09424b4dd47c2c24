// Live values as Server-Sent Events.
#include "server/http/events.hpp"

#include <gtest/gtest.h>

#include <boost/asio/post.hpp>
#include <chrono>
#include <ctime>
#include <future>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "core/broker/ledger.hpp"
#include "core/broker/session.hpp"
#include "core/broker/subscription.hpp"
#include "server/http/event_text.hpp"
#include "tests/server/files.hpp"
#include "tests/server/http/event_reader.hpp"
#include "tests/server/http/topics_world.hpp"
#include "tests/server/jwt_tokens.hpp"

namespace millrace::server {
namespace {

using Headers = HttpClient::Headers;

// Something was published in it, as `$SYS` is in every server: there is an id from the first reader on.
struct EventsWorld : TopicsWorld {
  using TopicsWorld::TopicsWorld;
  const bool published = (publish("$SYS/first", "x"), true);
};

std::uint64_t sessions(const TopicsWorld& world) {
  return world.processor.stats().sessions_connected.value();
}

TEST(Events, BeginWithTheNewestValueOfEachTopicAndGoOnWithChanges) {
  EventsWorld world;
  world.publish({.topic = "home/a", .payload = "1", .retain = true});
  world.publish("home/b", "2");
  world.publish("away/c", "3");
  EventReader reader(world, "/events?filter=home/%23");
  ASSERT_TRUE(reader.accepted()) << reader.head;
  EXPECT_NE(reader.head.find("Content-Type: text/event-stream\r\n"), std::string::npos);
  const auto first = reader.value();
  EXPECT_EQ(reader.start["resumed"], false);
  EXPECT_EQ(first["topic"], "home/a");
  EXPECT_EQ(first["payload"], "1");
  EXPECT_EQ(first["retained"], true);
  EXPECT_EQ(first["size"], 1);
  const auto second = reader.value();
  EXPECT_EQ(second["topic"], "home/b");
  EXPECT_EQ(second["retained"], false);
  reader.wait_for_id();
  world.publish("away/c", "4");
  world.publish("home/b", "5");
  EXPECT_EQ(reader.value()["payload"], "5");
}

TEST(Events, OfSeveralFiltersComeInOneStream) {
  EventsWorld world;
  EventReader reader(world, "/events?filter=a&filter=b/%2B");
  reader.wait_for_id();
  world.publish("c", "x");
  world.publish("a", "1");
  EXPECT_EQ(reader.value()["topic"], "a");
  world.publish("b/c", "2");
  EXPECT_EQ(reader.value()["topic"], "b/c");
}

// A SUBSCRIBE that is applied in parts brings the first values before it is answered.
TEST(Events, LoseNothingThatComesBeforeAllSubscriptionsAreAccepted) {
  broker::ProcessorLimits limits;
  limits.units_per_batch = 1;
  EventsWorld world({}, {}, limits, /*starts_processor=*/false);
  std::string target = "/events?";
  std::vector<std::string> topics;
  for (int i = 1; i <= 8; ++i) {
    topics.push_back("t" + std::to_string(i));
    target += (i > 1 ? "&filter=" : "filter=") + topics.back();
    world.publish(topics.back(), std::string(1500, '.'));
  }
  // Without the processor's thread the HTTP thread applies two batches, and then takes what they
  // brought.
  const auto borrowed = [&] { return world.processor.stats().borrowed_batches.value(); };
  const std::uint64_t before = borrowed();
  auto reading =
      std::async(std::launch::async, [&] { return std::make_unique<EventReader>(world, target); });
  wait_for([&] { return borrowed() == before + 2; });
  std::promise<void> taken;
  boost::asio::post(world.http.context(), [&] { taken.set_value(); });
  taken.get_future().wait();
  world.inbox.start();
  const auto reader = reading.get();
  std::vector<std::string> received;
  do {
    received.push_back(reader->value()["topic"].get<std::string>());
  } while (received.back() != topics.back());
  ASSERT_EQ(received, topics);
  // Nor is any of the credit lost.
  for (int i = 0; i < 3; ++i) {
    world.publish("t1", std::string(8000, '.'));
    EXPECT_EQ(reader->value()["topic"], "t1");
  }
}

// So they cost the processor what they cost it for a client of `$latest/`.
TEST(Events, AreMadeOnTheSideOfHttpFromPacketsThatPassUnchanged) {
  std::promise<void> stands_still, may_go_on;  // the HTTP thread
  EventsWorld world;
  EventReader reader(world, "/events?filter=t/%23");
  reader.wait_for_id();
  const broker::Session* session = nullptr;
  world.processor.index().match(
      "t/a", [&](const broker::Subscription* subscription) { session = subscription->session; });
  ASSERT_NE(session, nullptr);
  boost::asio::post(world.http.context(), [&] {
    stands_still.set_value();
    may_go_on.get_future().wait();
  });
  stands_still.get_future().wait();
  world.submit_together({{.topic = "t/a", .payload = "1"}, {.topic = "t/b", .payload = "2"}});
  wait_for([&] { return world.inbox.idle(); });
  const auto handover = session->outbox->take();  // in the place of the HTTP thread
  may_go_on.set_value();
  ASSERT_NE(handover, nullptr);
  std::uint32_t packets = 0;
  for (const broker::HandoverItem& item : handover->deliveries) {
    EXPECT_TRUE(boost::variant2::holds_alternative<broker::PacketRun>(item));
    packets += broker::packet_count(item);
  }
  EXPECT_EQ(packets, 2u);
}

TEST(Events, OfOneReadAreOneForEachPacket) {
  EventsWorld world;
  EventReader reader(world, "/events?filter=t/%23");
  const std::string id = reader.wait_for_id();
  protocol::Properties properties;
  properties.content_type = "text/plain";
  world.submit_together({{.topic = "t/a", .payload = "1", .retain = true},
                         {.topic = "t/b", .payload = std::string(300, 'b')},
                         {.topic = "other", .payload = "x"},
                         {.topic = "t/c", .payload = "\xff", .properties = properties},
                         {.topic = "t/a", .payload = "", .retain = true},
                         {.topic = "t/d", .payload = "2", .qos = 1}});
  auto value = reader.value();
  EXPECT_EQ(value["topic"], "t/a");
  EXPECT_EQ(value["payload"], "1");
  EXPECT_EQ(value["retained"], true);
  EXPECT_EQ(value["qos"], 0);
  EXPECT_FALSE(value.contains("cleared"));
  EXPECT_LT(value["age_ms"], 3'600'000) << "it is that of the buffer";
  value = reader.value();
  EXPECT_EQ(value["topic"], "t/b");
  EXPECT_EQ(value["size"], 300);
  EXPECT_EQ(value["retained"], false);
  value = reader.value();
  EXPECT_EQ(value["topic"], "t/c");
  EXPECT_EQ(value["payload_base64"], "/w==");
  value = reader.value();
  EXPECT_EQ(value["topic"], "t/a");
  EXPECT_EQ(value["cleared"], true);
  value = reader.value();
  EXPECT_EQ(value["topic"], "t/d");
  EXPECT_EQ(value["qos"], 1);
  EXPECT_NE(reader.wait_for_id(), id);
  EXPECT_EQ(world.events.counters().events.value(), 5u);
}

TEST(Events, AreConflatedForAReaderThatDoesNotRead) {
  EventsWorld world;
  EventReader reader(world, "/events?filter=%23");
  reader.wait_for_id();
  constexpr int count = 3000;
  const std::string padding(10'000, '.');
  for (int i = 1; i <= count; ++i)
    world.submit({.topic = "t", .payload = std::to_string(i) + padding});
  wait_for([&] { return world.inbox.idle(); });
  world.publish("last", "x");
  int received = 0, newest = 0;
  for (auto value = reader.value(); value["topic"] != "last"; value = reader.value()) {
    ++received;
    const int number = std::stoi(value["payload"].get<std::string>());
    EXPECT_GT(number, newest);
    newest = number;
  }
  EXPECT_EQ(newest, count);
  EXPECT_LT(received, count);
}

// What fills the buffers of such a reader's connection is the oldest of all.
TEST(Events, LeaveAReaderThatStandsStillLittleThatIsOld) {
  constexpr int topics = 20;
  constexpr int rounds = 200;
  constexpr std::size_t payload_bytes = 200;
  EventsWorld world;
  EventReader reader(world, "/events?filter=t/%23");
  reader.wait_for_id();
  for (int round = 1; round <= rounds; ++round) {
    std::string payload = std::to_string(round);
    payload.resize(payload_bytes, ' ');
    for (int topic = 0; topic < topics; ++topic) {
      world.publish("t/" + std::to_string(topic), payload);
    }
  }
  std::set<std::string> newest;
  std::size_t payloads = 0;
  while (newest.size() < topics) {
    const auto value = reader.value();
    ASSERT_FALSE(value.is_null()) << "the stream has ended";
    ++payloads;
    const auto payload = value["payload"].get<std::string>();
    if (std::stoi(payload) == rounds) newest.insert(value["topic"].get<std::string>());
  }
  EXPECT_LT(payloads * payload_bytes, 40'000u) << "it would be 70,000 if its buffers were filled";
  EXPECT_EQ(world.events.counters().late_binding_unknown.value(), 0u);
}

TEST(Events, AskForWhatAReaderHasNotReadWhileItsValuesMayBeReplaced) {
  EventsWorld world;
  {
    EventReader reader(world, "/events?filter=t");
    reader.wait_for_id();
    const std::string payload(2000, 'x');
    wait_for([&] {
      world.publish("t", payload);
      return world.events.counters().unread_bytes.value() > 0;
    });
  }
  wait_for([&] { return world.events.counters().unread_bytes.value() == 0; });
}

TEST(Events, KeepToTheRateThatIsAskedForAndAlwaysEndWithTheLast) {
  EventsWorld world;
  constexpr double seconds_apart = 2;
  EventReader reader(world, "/events?filter=t&max_rate_hz=0.5");
  reader.wait_for_id();
  const auto begun = std::chrono::steady_clock::now();
  for (int i = 0; i < 20; ++i) world.publish("t", std::to_string(i));
  EXPECT_EQ(reader.value()["payload"], "0");
  // One more for each of the periods, of which publishing may have taken some.
  int more = 0;
  nlohmann::json value;
  do {
    value = reader.value();
    ++more;
  } while (!value.is_null() && value["payload"] != "19");
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  EXPECT_FALSE(value.is_null()) << "the stream has ended";
  EXPECT_LE(more, 1 + took.count() / seconds_apart);
}

TEST(Events, GoOnWhereAReaderWasThatComesAgain) {
  EventsWorld world;
  world.publish("a", "1");
  world.publish("b", "1");
  std::string id;
  {
    EventReader reader(world, "/events?filter=%23");
    id = reader.wait_for_id();
  }
  world.publish("b", "2");
  EventReader reader(world, "/events?filter=%23", {{"Last-Event-ID", id}});
  EXPECT_EQ(reader.value()["topic"], "b");
  EXPECT_EQ(reader.start["resumed"], true);
  reader.wait_for_id();
  world.publish("c", "3");
  EXPECT_EQ(reader.value()["topic"], "c");
}

TEST(Events, TellAReaderThatComesAgainWhatWasClearedMeanwhile) {
  EventsWorld world;
  world.publish({.topic = "a", .payload = "1", .retain = true});
  std::string id;
  {
    EventReader reader(world, "/events?filter=%23");
    id = reader.wait_for_id();
  }
  world.publish({.topic = "a", .payload = "", .retain = true});
  EventReader again(world, "/events?filter=%23", {{"Last-Event-ID", id}});
  const auto cleared = again.value();
  EXPECT_EQ(cleared["topic"], "a");
  EXPECT_EQ(cleared["cleared"], true);
  EventReader anew(world, "/events?filter=%23");
  anew.wait_for_id();
  world.publish("b", "2");
  EXPECT_EQ(anew.value()["topic"], "b");
}

TEST(Events, BeginAnewForAnIdOfAnotherRun) {
  EventsWorld world;
  world.publish("a", "1");
  EventReader reader(world, "/events?filter=%23", {{"Last-Event-ID", "another-1"}});
  EXPECT_EQ(reader.value()["topic"], "a");
  EXPECT_EQ(reader.start["resumed"], false);
}

// An id says that nothing is missing, so there is none as long as a value is held back.
TEST(Events, HaveNoIdWhileSomethingIsHeldBack) {
  EventsWorld world;
  EventReader reader(world, "/events?filter=t&filter=u&max_rate_hz=0.2");  // five seconds apart
  reader.wait_for_id();
  world.publish("t", "1");
  reader.wait_for_id();
  world.publish("t", "2");  // held back
  world.publish("u", "1");
  EXPECT_EQ(reader.value()["topic"], "u");
  const int ids = reader.ids;
  EXPECT_EQ(reader.value()["payload"], "2");
  EXPECT_EQ(reader.ids, ids);
  EXPECT_FALSE(reader.wait_for_id().empty());
}

TEST(Events, CarryPayloadsThatAreNoTextAsBase64) {
  EventsWorld world;
  world.publish("t", "\xff\x01");
  world.publish("u", "line\n\"quoted\"\x01");
  EventReader reader(world, "/events?filter=%23");
  const auto binary = reader.value();
  EXPECT_EQ(binary["payload_base64"], "/wE=");
  EXPECT_EQ(binary.count("payload"), 0u);
  EXPECT_EQ(reader.value()["payload"], "line\n\"quoted\"\x01");
}

TEST(Events, CutLongPayloadsOnRequestBetweenCharacters) {
  EventsWorld world;
  world.publish("t",
                "ab\xc3\xa4"
                "cd");
  EventReader reader(world, "/events?filter=t&payload_bytes_max=3");
  const auto value = reader.value();
  EXPECT_EQ(value["payload"], "ab");
  EXPECT_EQ(value["size"], 6);
  EXPECT_EQ(value["truncated"], true);
}

TEST(Events, AreSentToHttp10WithoutChunks) {
  EventsWorld world;
  world.publish("t", "1");
  EventReader reader(world, "/events?filter=t", {}, "1.0");
  EXPECT_EQ(reader.head.find("chunked"), std::string::npos);
  EXPECT_EQ(reader.value()["payload"], "1");
}

TEST(Events, SendACommentWhenThereIsNothingElse) {
  EventsWorld world;
  EventReader reader(world, "/events?filter=t");
  EXPECT_TRUE(reader.wait_for_line(":"));
  EXPECT_TRUE(reader.wait_for_line(":"));
  world.publish("t", "1");
  EXPECT_EQ(reader.value()["payload"], "1");
}

TEST(Events, RefuseWhatMakesNoSense) {
  EventsWorld world;
  for (const char* query :
       {"", "?filter=", "?filter=a%23", "?filter=$latest/a", "?filter=$share/g/a", "?filter=a&x=1",
        "?filter=a&max_rate_hz=0", "?filter=a&max_rate_hz=nan", "?filter=a&max_rate_hz=x",
        "?filter=a&payload_bytes_max=-1",
        "?filter=1&filter=2&filter=3&filter=4&filter=5&filter=6&filter=7&filter=8&filter=9&filter="
        "10"
        "&filter=11&filter=12&filter=13&filter=14&filter=15&filter=16&filter=17"}) {
    EXPECT_EQ(HttpClient(world).get("/events" + std::string(query)).result_int(), 400u) << query;
  }
  EXPECT_EQ(sessions(world), 0u);
}

TEST(Events, AreWhatTheRulesLetTheReaderSee) {
  AccessConfig access;
  AccessRule shut, rest;
  shut.effect = AccessEffect::deny;
  shut.filter = "shut/#";
  rest.effect = AccessEffect::allow;
  access.rules = {shut, rest};
  EventsWorld world({}, access);
  world.publish("open/a", "1");
  world.publish("shut/b", "2");
  EXPECT_EQ(HttpClient(world).get("/events?filter=shut/%23").result_int(), 403u);
  EXPECT_EQ(HttpClient(world).get("/events?filter=open/a&filter=shut/b").result_int(), 403u);
  EventReader reader(world, "/events?filter=%2B/%2B");
  EXPECT_EQ(reader.value()["topic"], "open/a");
  reader.wait_for_id();
  world.publish("shut/b", "3");
  world.publish("open/c", "4");
  EXPECT_EQ(reader.value()["topic"], "open/c");
}

TEST(Events, EndWhenTheRulesChange) {
  EventsWorld world;
  EventReader reader(world, "/events?filter=t");
  reader.wait_for_id();
  world.events.set_rules(TopicsWorld::latest);
  EXPECT_TRUE(reader.ended());
  wait_for([&] { return sessions(world) == 0; });
  EXPECT_EQ(world.events.counters().streams.value(), 0u);
}

TEST(Events, HaveNoMoreReadersThanTheConfigurationAllows) {
  HttpConfig config;
  config.event_streams_max = 1;
  EventsWorld world(config);
  {
    EventReader first(world, "/events?filter=t");
    first.wait_for_id();
    const auto refused = HttpClient(world).get("/events?filter=t");
    EXPECT_EQ(refused.result_int(), 503u);
    EXPECT_EQ(refused["Retry-After"], "1");
    EXPECT_EQ(world.events.counters().streams_refused.value(), 1u);
  }
  wait_for([&] { return world.events.counters().streams.value() == 0; });
  EXPECT_TRUE(EventReader(world, "/events?filter=t").accepted());
}

TEST(Events, AreRefusedWhereThereIsNoRoomForASession) {
  broker::ProcessorLimits limits;
  limits.sessions_max = 0;
  EventsWorld world({}, {}, limits);
  const auto refused = HttpClient(world).get("/events?filter=t");
  EXPECT_EQ(refused.result_int(), 503u);
  EXPECT_NE(refused.body().find("session.count_max, memory.bytes_max"), std::string::npos);
  wait_for([&] { return world.events.counters().streams.value() == 0; });
}

// A reload reaches the processor before it reaches this route: there is room, but not for this reader.
TEST(Events, AreToldThatTheirRightsEndedAndNotThatThereIsNoRoom) {
  EventsWorld world;
  AccessConfig nobody;
  nobody.allow_anonymous = false;
  auto request = std::make_unique<broker::ReviewRequest>();
  request->authority = access_of(nobody);
  broker::Command review{nullptr, broker::command::Review{std::move(request)}};
  ASSERT_EQ(world.inbox.submit({&review, 1}), 1u);
  const auto refused = HttpClient(world).get("/events?filter=t");
  EXPECT_EQ(refused.result_int(), 503u);
  EXPECT_NE(refused.body().find("its rights ended"), std::string::npos) << refused.body();
}

TEST(Events, AreRefusedWhereThereIsNoRoomForTheSubscriptions) {
  broker::ProcessorLimits limits;
  limits.subscriptions_max = 1;
  EventsWorld world({}, {}, limits);
  const auto refused = HttpClient(world).get("/events?filter=a&filter=b");
  EXPECT_EQ(refused.result_int(), 503u);
  EXPECT_EQ(refused["Retry-After"], "1");
  EXPECT_NE(refused.body().find("session.subscriptions_max"), std::string::npos);
  wait_for([&] { return sessions(world) == 0 && world.events.counters().streams.value() == 0; });
  EXPECT_TRUE(EventReader(world, "/events?filter=a").accepted());
}

TEST(Events, EndWithTheTokenThatLetTheReaderIn) {
  const test::Folder folder;
  const std::string secret(32, 's');
  AccessConfig access;
  access.jwt.secret_file = folder.write("secret", secret);
  access.jwt.leeway_seconds = 0;
  EventsWorld world({}, access);
  std::optional<EventReader> reader;
  std::time_t ends_at = 0;
  // One that ends before the reader is let in should have lasted longer.
  for (int lasts_s = 2; lasts_s <= 32 && (!reader || !reader->accepted()); lasts_s *= 2) {
    ends_at = std::time(nullptr) + lasts_s;
    const std::string claims = R"({"sub":"u","exp":)" + std::to_string(ends_at) + "}";
    const std::string token = test::token_by_secret(secret, R"({"alg":"HS256"})", claims);
    reader.emplace(world, "/events?filter=t",
                   HttpClient::Headers{{"Authorization", "Bearer " + token}});
  }
  ASSERT_TRUE(reader->accepted()) << reader->head;
  EXPECT_TRUE(reader->ended());
  EXPECT_GE(std::time(nullptr), ends_at);
  wait_for([&] { return sessions(world) == 0; });
}

TEST(Events, AreChargedToTheLedgerAsLongAsTheyAreRead) {
  EventsWorld world;
  const auto charged = [&] { return world.processor.ledger().bytes(broker::Holding::connections); };
  ASSERT_EQ(charged(), 0u);
  {
    EventReader reader(world, "/events?filter=%23");
    reader.wait_for_id();
    EXPECT_GT(charged(), 0u);
    // It reads nothing any more: what is on its way is charged, too.
    const auto idle = charged();
    while (charged() <= idle + 60'000) world.publish("t", std::string(60'000, '.'));
  }
  wait_for([&] { return charged() == 0; });
}

TEST(Events, MayBeReadByPagesOfTheOriginsThatAreNamed) {
  HttpConfig config;
  config.origins = {"https://page.example"};
  EventsWorld world(config);
  EventReader reader(world, "/events?filter=t", {{"Origin", "https://page.example"}});
  EXPECT_NE(reader.head.find("Access-Control-Allow-Origin: https://page.example\r\n"),
            std::string::npos);
  EventReader other(world, "/events?filter=t", {{"Origin", "https://other.example"}});
  EXPECT_EQ(other.head.find("Access-Control-Allow-Origin"), std::string::npos);
  const auto preflight =
      HttpClient(world).get("/events", {{"Origin", "https://page.example"}}, "OPTIONS");
  EXPECT_EQ(preflight.result_int(), 204u);
  EXPECT_NE(preflight["Access-Control-Allow-Headers"].find("Last-Event-ID"), std::string::npos);
}

TEST(Events, LeaveNothingOfAReaderThatGoes) {
  EventsWorld world;
  {
    EventReader reader(world, "/events?filter=%23");
    reader.wait_for_id();
    EXPECT_EQ(sessions(world), 1u);
  }
  wait_for([&] { return sessions(world) == 0; });
  world.publish("t", "1");
  EXPECT_EQ(world.events.counters().streams.value(), 0u);
  EXPECT_EQ(world.processor.stats().subscriptions.value(), 0u);
}

TEST(Events, EndWithTheServer) {
  EventsWorld world;
  EventReader reader(world, "/events?filter=t");
  reader.wait_for_id();
  world.http.stop();
  EXPECT_TRUE(reader.ended());
  wait_for([&] { return sessions(world) == 0; });
}

TEST(Events, AnswerHeadWithoutAStream) {
  EventsWorld world;
  EXPECT_EQ(HttpClient(world).get("/events?filter=t", {}, "HEAD").result_int(), 200u);
  EXPECT_EQ(sessions(world), 0u);
}

TEST(Events, MissNoLastValueWhateverTheOrderOfReadingAndPublishing) {
  EventsWorld world;
  EventReader reader(world, "/events?filter=%23");
  reader.wait_for_id();
  for (int i = 1; i <= 300; ++i) {
    const std::string text = std::to_string(i);
    world.submit({.topic = "t/" + std::to_string(i % 7), .payload = text});
    if (i % 3 != 0) continue;
    while (reader.value()["payload"] != text) {
    }
  }
}

TEST(EventId, IsOfOneRun) {
  EXPECT_EQ(parse_event_id(event_id("abc", 17), "abc"), 17u);
  for (const char* id :
       {"", "abc", "abc-", "abc-x", "abc-1x", "abd-1", "abc--1", "abc-99999999999999999999"}) {
    EXPECT_FALSE(parse_event_id(id, "abc")) << id;
  }
}

}  // namespace
}  // namespace millrace::server
