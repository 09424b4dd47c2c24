// Long polls: who waits for a newer value gets it, and leaves nothing behind.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/server/http/topics_world.hpp"

namespace millrace::server {
namespace {

using Response = HttpClient::Response;

std::string etag_of(const Response& response) {
  return std::string(response["ETag"]);
}

HttpClient::Headers patient(const std::string& etag, const char* wait = "wait=3600") {
  HttpClient::Headers headers = {{"Prefer", wait}};
  if (!etag.empty()) headers.emplace_back("If-None-Match", etag);
  return headers;
}

HttpConfig waiting_long() {
  HttpConfig config;
  config.wait_seconds_max = 3600;
  return config;
}

TEST(TopicsHttpWait, AnswersWhenANewerValueIsStored) {
  TopicsWorld world(waiting_long());
  HttpClient client(world);
  world.publish("t", "1");
  const std::string etag = etag_of(client.get("/topics/t"));
  client.send("/topics/t", patient(etag));
  world.wait_for_polls(1);
  world.publish("other", "x");
  EXPECT_EQ(world.routes.counters().long_polls.value(), 1u);
  world.publish("t", "2");
  const Response got = client.receive();
  EXPECT_EQ(got.result_int(), 200u);
  EXPECT_EQ(got.body(), "2");
  EXPECT_EQ(got["Preference-Applied"], "wait=3600");
  EXPECT_NE(etag_of(got), etag);
  EXPECT_EQ(world.routes.counters().long_polls.value(), 0u);
  EXPECT_FALSE(world.processor.topics().anyone_waits());
}

TEST(TopicsHttpWait, AnswersAtOnceIfTheValueIsAnotherAlready) {
  TopicsWorld world(waiting_long());
  HttpClient client(world);
  world.publish("t", "1");
  const std::string etag = etag_of(client.get("/topics/t"));
  world.publish("t", "2");
  EXPECT_EQ(client.get("/topics/t", patient(etag)).body(), "2");
  EXPECT_EQ(client.get("/topics/t", patient("")).body(), "2");
}

TEST(TopicsHttpWait, EndsWith304WhenTheTimeIsUp) {
  TopicsWorld world;
  HttpClient client(world);
  world.publish("t", "1");
  const std::string etag = etag_of(client.get("/topics/t"));
  const Response got = client.get("/topics/t", patient(etag, "wait=1"));
  EXPECT_EQ(got.result_int(), 304u);
  EXPECT_EQ(etag_of(got), etag);
  EXPECT_EQ(got["Preference-Applied"], "wait=1");
  EXPECT_EQ(world.routes.counters().long_polls.value(), 0u);
  EXPECT_FALSE(world.processor.topics().anyone_waits());
}

TEST(TopicsHttpWait, WaitsNoLongerThanTheConfigurationAllows) {
  HttpConfig config;
  config.wait_seconds_max = 1;
  TopicsWorld world(config);
  const Response got = HttpClient(world).get("/topics/none", patient("", "wait=86400"));
  EXPECT_EQ(got.result_int(), 404u);
  EXPECT_EQ(got["Preference-Applied"], "wait=1");
}

TEST(TopicsHttpWait, WaitsForTheFirstValueOfATopic) {
  TopicsWorld world(waiting_long());
  HttpClient client(world);
  client.send("/topics/new", patient(""));
  world.wait_for_polls(1);
  world.publish("new", "first");
  EXPECT_EQ(client.receive().body(), "first");
}

TEST(TopicsHttpWait, TellsAtOnceThatTheValueWasCleared) {
  TopicsWorld world(waiting_long());
  HttpClient client(world);
  world.publish({.topic = "t", .payload = "1", .retain = true});
  const std::string etag = etag_of(client.get("/topics/t"));
  client.send("/topics/t", patient(etag));
  world.wait_for_polls(1);
  world.publish({.topic = "t", .payload = "", .retain = true});
  EXPECT_EQ(client.receive().result_int(), 404u);
  EXPECT_EQ(client.get("/topics/t", patient(etag)).result_int(), 404u);
}

TEST(TopicsHttpWait, SurvivesThatTheTopicIsEvictedAndComesBack) {
  broker::ProcessorLimits limits;
  limits.slots.count_max = 1;
  TopicsWorld world(waiting_long(), {}, limits);
  HttpClient client(world), other(world);
  world.publish("t", "1");
  const std::string etag = etag_of(client.get("/topics/t"));
  client.send("/topics/t", patient(etag));
  // A poll is counted before it looks at the topic: evicted by then, the answer would be 404.
  wait_for([&] { return world.processor.topics().anyone_waits(); });
  world.publish("evictor", "x");
  EXPECT_EQ(other.get("/topics/t").result_int(), 404u);
  world.publish("t", "2");
  EXPECT_EQ(client.receive().body(), "2");
}

TEST(TopicsHttpWait, LeavesNothingOfAClientThatGoes) {
  TopicsWorld world(waiting_long());
  HttpClient client(world);
  client.send("/topics/t", patient(""));
  world.wait_for_polls(1);
  wait_for([&] { return world.processor.topics().anyone_waits(); });
  client.close();
  world.wait_for_polls(0);
  wait_for([&] { return !world.processor.topics().anyone_waits(); });
  world.publish("t", "x");
  EXPECT_EQ(HttpClient(world).get("/topics/t").body(), "x");
}

TEST(TopicsHttpWait, RefusesMoreThanTheConfigurationAllows) {
  HttpConfig config = waiting_long();
  config.long_polls_max = 2;
  TopicsWorld world(config);
  HttpClient first(world), second(world), third(world);
  first.send("/topics/t", patient(""));
  second.send("/topics/t", patient(""));
  world.wait_for_polls(2);
  const Response refused = third.get("/topics/t", patient(""));
  EXPECT_EQ(refused.result_int(), 503u);
  EXPECT_EQ(refused["Retry-After"], "1");
  EXPECT_EQ(world.routes.counters().long_polls_refused.value(), 1u);
  first.close();
  world.wait_for_polls(1);
  third.send("/topics/t", patient(""));
  world.wait_for_polls(2);
  world.publish("t", "x");
  EXPECT_EQ(second.receive().body(), "x");
  EXPECT_EQ(third.receive().body(), "x");
}

TEST(TopicsHttpWait, EndsWithTheServerWhoeverWaits) {
  TopicsWorld world(waiting_long());
  HttpClient first(world), second(world);
  first.send("/topics/t", patient(""));
  second.send("/topics/u", patient(""));
  world.wait_for_polls(2);
  world.http.stop();
  EXPECT_EQ(world.routes.counters().long_polls.value(), 0u);
  EXPECT_FALSE(world.processor.topics().anyone_waits());
  EXPECT_THROW(first.receive(), boost::system::system_error);
}

constexpr int rounds = 300;

// Asks for whatever is newer than what it has, until it has the last value.
void follow(TopicsWorld& world, std::atomic<int>& seen) {
  HttpClient client(world);
  std::string etag;
  while (seen.load() < rounds) {
    const Response got = client.get("/topics/t", patient(etag));
    ASSERT_EQ(got.result_int(), 200u);
    ASSERT_NE(etag_of(got), etag);
    etag = etag_of(got);
    const int value = std::stoi(got.body());
    ASSERT_GT(value, seen.load());
    seen.store(value);
  }
}

// A follower that loses one wake-up stays behind, and the test with it.
TEST(TopicsHttpWait, MissesNoValueThatStays) {
  TopicsWorld world(waiting_long());
  std::atomic<int> seen[3] = {};
  std::vector<std::thread> followers;
  for (auto& mine : seen) {
    followers.emplace_back([&] {
      follow(world, mine);
      mine.store(rounds);  // a failed one holds up nobody
    });
  }
  for (int value = 1; value <= rounds; ++value) {
    world.submit({.topic = "t", .payload = std::to_string(value)});
    // Every so often waits for one of them, so that all orders of storing and joining come about.
    if (value % 3 != 0) wait_for([&] { return seen[value % 3].load() >= value; });
  }
  for (std::thread& follower : followers) follower.join();
  wait_for([&] { return !world.processor.topics().anyone_waits(); });
}

}  // namespace
}  // namespace millrace::server
