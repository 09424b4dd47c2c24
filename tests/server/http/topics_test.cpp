// What GET /topics/... and GET /topics?... answer at once.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>

#include "server/auth/password_file.hpp"
#include "server/http/topic_headers.hpp"
#include "tests/server/http/topics_world.hpp"

namespace millrace::server {
namespace {

using Response = HttpClient::Response;

std::string header(const Response& response, std::string_view name) {
  return std::string(response[name]);
}

TEST(TopicsHttp, ServesThePayloadAsItWasPublished) {
  TopicsWorld world;
  const std::string payload("\x00\xff\r\n\x01", 5);
  world.publish("a/b", "older");
  world.publish({.topic = "a/b", .payload = payload, .qos = 1});
  const Response got = HttpClient(world).get("/topics/a/b");
  EXPECT_EQ(got.result_int(), 200u);
  EXPECT_EQ(got.body(), payload);
  EXPECT_EQ(header(got, "Content-Type"), "application/octet-stream");
  EXPECT_EQ(header(got, "Cache-Control"), "no-cache");
  EXPECT_EQ(header(got, "X-Millrace-Retained"), "false");
  EXPECT_EQ(header(got, "X-Millrace-QoS"), "1");
  EXPECT_TRUE(header(got, "ETag").ends_with("." + header(got, "X-Millrace-Version") + "\""));
}

TEST(TopicsHttp, TellsAgeTimeAndRetention) {
  TopicsWorld world;
  world.publish({.topic = "t", .payload = "x", .retain = true, .age_ns = 90'000'000'000});
  const Response got = HttpClient(world).get("/topics/t");
  EXPECT_EQ(header(got, "X-Millrace-Retained"), "true");
  EXPECT_GE(std::stod(header(got, "X-Millrace-Age-Seconds")), 90.0);
  EXPECT_EQ(header(got, "X-Millrace-Published").size(), sizeof "2026-11-21T03:35:01.123Z" - 1);
}

TEST(TopicsHttp, AnswersHeadLikeGetWithoutThePayload) {
  TopicsWorld world;
  world.publish("t", "twelve bytes");
  HttpClient client(world);
  const Response head = client.get("/topics/t", {}, "HEAD");
  EXPECT_EQ(head.result_int(), 200u);
  EXPECT_EQ(header(head, "Content-Length"), "12");
  EXPECT_EQ(head.body(), "");
  EXPECT_EQ(header(head, "ETag"), header(client.get("/topics/t"), "ETag"));
}

TEST(TopicsHttp, TakesTheContentTypeOfThePublisher) {
  TopicsWorld world;
  HttpClient client(world);
  const auto type_of = [&](std::optional<std::string> type, std::optional<std::uint8_t> utf8) {
    Published what{.topic = "t", .payload = "{}"};
    what.properties.content_type = std::move(type);
    what.properties.payload_format_indicator = utf8;
    world.publish(what);
    return header(client.get("/topics/t"), "Content-Type");
  };
  EXPECT_EQ(type_of("application/json", std::nullopt), "application/json");
  EXPECT_EQ(type_of("text/plain; charset=latin1", 1), "text/plain; charset=latin1");
  EXPECT_EQ(type_of(std::nullopt, 1), "text/plain; charset=utf-8");
  EXPECT_EQ(type_of(std::nullopt, 0), "application/octet-stream");
  EXPECT_EQ(type_of("no type", std::nullopt), "application/octet-stream");
  EXPECT_EQ(type_of("text/plain\r\nSet-Cookie: a=b", 1), "text/plain; charset=utf-8");
}

TEST(TopicsHttp, LetsNoBrowserRunWhatAPublisherWrote) {
  TopicsWorld world;
  Published page{.topic = "t", .payload = "<script>"};
  page.properties.content_type = "text/html";
  world.publish(page);
  const Response got = HttpClient(world).get("/topics/t");
  EXPECT_EQ(header(got, "Content-Type"), "text/html");
  EXPECT_EQ(header(got, "Content-Security-Policy"), "sandbox; default-src 'none'");
  EXPECT_EQ(header(got, "X-Content-Type-Options"), "nosniff");
}

TEST(TopicsHttp, AnswersATopicWithoutAValue404) {
  TopicsWorld world;
  HttpClient client(world);
  EXPECT_EQ(client.get("/topics/none").result_int(), 404u);
  EXPECT_EQ(client.get("/topics/none", {{"If-None-Match", "*"}}).result_int(), 404u);

  world.publish({.topic = "cleared", .payload = "x", .retain = true});
  EXPECT_EQ(client.get("/topics/cleared").result_int(), 200u);
  world.publish({.topic = "cleared", .payload = "", .retain = true});
  EXPECT_EQ(client.get("/topics/cleared").result_int(), 404u);

  Published mortal{.topic = "expired", .payload = "x", .age_ns = 10'000'000'000};
  mortal.properties.message_expiry_interval = 3600;
  world.publish(mortal);
  EXPECT_EQ(client.get("/topics/expired").result_int(), 200u);
  mortal.properties.message_expiry_interval = 5;
  world.publish(mortal);
  EXPECT_EQ(client.get("/topics/expired").result_int(), 404u);
}

TEST(TopicsHttp, ServesAnEmptyMessageThatIsNotRetained) {
  TopicsWorld world;
  world.publish("t", "");
  const Response got = HttpClient(world).get("/topics/t");
  EXPECT_EQ(got.result_int(), 200u);
  EXPECT_EQ(header(got, "Content-Length"), "0");
}

TEST(TopicsHttp, FindsTopicsWhateverTheirNames) {
  TopicsWorld world;
  HttpClient client(world);
  const std::vector<std::pair<std::string, std::string>> names = {
      {"/a", "/topics//a"},         {"/a", "/topics/%2Fa"},      {"/", "/topics//"},
      {"a//b", "/topics/a//b"},     {"a/", "/topics/a/"},        {"a b", "/topics/a%20b"},
      {"100%", "/topics/100%25"},   {"a?b", "/topics/a%3Fb"},    {"ä", "/topics/%C3%A4"},
      {"$SYS/x", "/topics/$SYS/x"}, {"a/../b", "/topics/a/../b"}};
  for (const auto& [name, target] : names) {
    world.publish(name, "value of " + name);
    EXPECT_EQ(client.get(target).body(), "value of " + name) << target;
  }
}

TEST(TopicsHttp, RefusesWhatIsNoTopicName) {
  TopicsWorld world;
  HttpClient client(world);
  for (const char* target : {"/topics/", "/topics/a/%23", "/topics/+", "/topics/%ff"}) {
    EXPECT_EQ(client.get(target).result_int(), 400u) << target;
  }
  EXPECT_EQ(client.get("/topics/a", {}, "DELETE").result_int(), 405u);
}

TEST(TopicsHttp, Answers304WhileTheValueIsTheSame) {
  TopicsWorld world;
  HttpClient client(world);
  world.publish("t", "1");
  const std::string etag = header(client.get("/topics/t"), "ETag");
  for (const std::string& match : {etag, "W/" + etag, "\"x\" , " + etag, std::string("*")}) {
    const Response same = client.get("/topics/t", {{"If-None-Match", match}});
    EXPECT_EQ(same.result_int(), 304u) << match;
    EXPECT_EQ(header(same, "ETag"), etag);
    EXPECT_EQ(header(same, "Content-Length"), "");
  }
  world.publish("t", "1");
  EXPECT_EQ(client.get("/topics/t", {{"If-None-Match", etag}}).result_int(), 200u);
}

TEST(TopicsHttp, NamesValuesOfAnotherRunDifferently) {
  TopicsWorld one, other;
  one.publish("t", "1");
  other.publish("t", "2");
  const std::string etag = header(HttpClient(one).get("/topics/t"), "ETag");
  EXPECT_EQ(HttpClient(other).get("/topics/t", {{"If-None-Match", etag}}).body(), "2");
}

// --- the list ---

nlohmann::json list(HttpClient& client, const std::string& query) {
  const Response response = client.get("/topics" + query);
  EXPECT_EQ(response.result_int(), 200u) << response.body();
  EXPECT_EQ(header(response, "Content-Type"), "application/json");
  return nlohmann::json::parse(response.body());
}

std::vector<std::string> names_of(const nlohmann::json& list) {
  std::vector<std::string> names;
  for (const auto& row : list.at("topics")) names.push_back(row.at("topic"));
  return names;
}

using Names = std::vector<std::string>;

TEST(TopicsHttpList, TellsVersionSizeAgeAndRetention) {
  TopicsWorld world;
  HttpClient client(world);
  world.publish({.topic = "t", .payload = "12345", .retain = true, .age_ns = 7'000'000'000});
  const auto row = list(client, "").at("topics").at(0);
  EXPECT_EQ(row.at("topic"), "t");
  EXPECT_EQ(row.at("size"), 5);
  EXPECT_EQ(row.at("retained"), true);
  EXPECT_GE(row.at("age_seconds").get<double>(), 7.0);
  const std::string version = header(client.get("/topics/t"), "X-Millrace-Version");
  EXPECT_EQ(std::to_string(row.at("version").get<std::uint64_t>()), version);
}

TEST(TopicsHttpList, ListsWhatMatchesOrderedByName) {
  TopicsWorld world;
  HttpClient client(world);
  for (const char* name : {"b", "a/b/c", "a/c", "a/b", "$SYS/x", "/"}) world.publish(name, "x");
  EXPECT_EQ(names_of(list(client, "")), (Names{"/", "a/b", "a/b/c", "a/c", "b"}));
  EXPECT_EQ(names_of(list(client, "?filter=a/%23")), (Names{"a/b", "a/b/c", "a/c"}));
  EXPECT_EQ(names_of(list(client, "?filter=a/%2B")), (Names{"a/b", "a/c"}));
  EXPECT_EQ(names_of(list(client, "?filter=a/b")), (Names{"a/b"}));
  EXPECT_EQ(names_of(list(client, "?filter=$SYS/%23")), (Names{"$SYS/x"}));
  EXPECT_EQ(names_of(list(client, "?filter=none")), (Names{}));
}

TEST(TopicsHttpList, LeavesOutWhatHasNoValue) {
  TopicsWorld world;
  HttpClient client(world);
  world.publish({.topic = "cleared", .payload = "", .retain = true});
  Published expired{.topic = "expired", .payload = "x", .age_ns = 10'000'000'000};
  expired.properties.message_expiry_interval = 5;
  world.publish(expired);
  world.publish("kept", "");
  EXPECT_EQ(names_of(list(client, "")), (Names{"kept"}));
}

TEST(TopicsHttpList, SaysIfItWasCutAndGoesOnAfterAName) {
  TopicsWorld world;
  HttpClient client(world);
  std::vector<std::string> all;
  for (int i = 1000; i < 6000; ++i) {  // more than one step of the walk
    all.push_back("n/" + std::to_string(i));
    world.submit({.topic = all.back(), .payload = "x"});
  }
  wait_for([&] { return world.inbox.idle(); });
  std::vector<std::string> seen;
  std::string after;
  for (bool more = true; more;) {
    const auto page = list(client, "?filter=n/%23&limit=1700&after=" + after);
    EXPECT_LE(page.at("topics").size(), 1700u);
    for (const std::string& name : names_of(page)) seen.push_back(name);
    more = page.at("truncated");
    EXPECT_EQ(page.contains("after"), more);
    if (more) after = page.at("after");
  }
  EXPECT_EQ(seen, all);
  EXPECT_EQ(list(client, "").at("topics").size(), 1000u);
  EXPECT_EQ(list(client, "?limit=999999").at("limit"), 10'000);
}

TEST(TopicsHttpList, ListsTheNewestFirst) {
  TopicsWorld world;
  HttpClient client(world);
  world.publish({.topic = "b", .payload = "x", .age_ns = 20'000'000'000});
  world.publish({.topic = "a", .payload = "x", .age_ns = 10'000'000'000});
  world.publish({.topic = "n/c", .payload = "x", .age_ns = 30'000'000'000});
  world.publish({.topic = "n/d", .payload = "x", .age_ns = 25'000'000'000});
  EXPECT_EQ(names_of(list(client, "?sort=age")), (Names{"a", "b", "n/d", "n/c"}));
  EXPECT_EQ(names_of(list(client, "?sort=age&filter=n/%23")), (Names{"n/d", "n/c"}));
  EXPECT_EQ(names_of(list(client, "?sort=age&filter=n/c")), (Names{"n/c"}));
  EXPECT_EQ(names_of(list(client, "?sort=name")), (Names{"a", "b", "n/c", "n/d"}));
  world.publish("n/c", "y");
  const auto page = list(client, "?sort=age&limit=2");
  EXPECT_EQ(names_of(page), (Names{"n/c", "a"}));
  EXPECT_EQ(page.at("truncated"), true);
  EXPECT_FALSE(page.contains("after"));
}

TEST(TopicsHttpList, FindsTheNewestOfMoreTopicsThanItLists) {
  TopicsWorld world;
  HttpClient client(world);
  constexpr int count = TopicListQuery::limit_max + 2000;
  // The later in the order of names, the newer.
  const auto name = [](int i) { return "n/" + std::to_string(100'000 + i); };
  for (int i = 0; i < count; ++i) {
    world.submit({.topic = name(i), .payload = "x", .age_ns = (count - i) * 1'000'000'000ll});
  }
  wait_for([&] { return world.inbox.idle(); });
  const auto page = list(client, "?sort=age&limit=3");
  EXPECT_EQ(names_of(page), (Names{name(count - 1), name(count - 2), name(count - 3)}));
  EXPECT_EQ(page.at("truncated"), true);
}

TEST(TopicsHttpList, RefusesAQueryThatMakesNoSense) {
  TopicsWorld world;
  HttpClient client(world);
  for (const char* query : {"?filter=a%23", "?filter=%23/a", "?filter=a%2B", "?filter=", "?limit=0",
                            "?limit=x", "?limit=-1", "?filter=$share/g/a", "?filters=a", "?sort=x",
                            "?sort=", "?sort=age&after=a", "?after=a&sort=age"}) {
    const Response response = client.get(std::string("/topics") + query);
    EXPECT_EQ(response.result_int(), 400u) << query;
    EXPECT_FALSE(response.body().empty());
  }
}

// --- access ---

class TopicsHttpAccess : public testing::Test {
 protected:
  TopicsHttpAccess() {
    const std::string name = testing::UnitTest::GetInstance()->current_test_info()->name();
    file_ = testing::TempDir() + "millrace-" + name + "-" + std::to_string(getpid());
    std::ofstream(file_) << "ann:" << PasswordHash::make("secret", 10).to_string() << "\n";
    config_.password_file = file_;
    config_.rules = {{AccessEffect::allow, "ann", AccessAction::subscribe, "a/#"},
                     {AccessEffect::allow, std::nullopt, AccessAction::subscribe, "public/#"}};
  }
  ~TopicsHttpAccess() override { std::remove(file_.c_str()); }

  static constexpr const char* ann = "Basic YW5uOnNlY3JldA==";        // ann:secret
  static constexpr const char* false_ann = "Basic YW5uOndyb25nISEh";  // ann:wrong!!!

  static unsigned status(TopicsWorld& world, const char* target, const char* authorization = "") {
    HttpClient::Headers headers;
    if (*authorization != '\0') headers.emplace_back("Authorization", authorization);
    const Response response = HttpClient(world).get(target, headers);
    EXPECT_EQ(header(response, "WWW-Authenticate").empty(), response.result_int() != 401);
    return response.result_int();
  }

  std::string file_;
  AccessConfig config_;
};

TEST_F(TopicsHttpAccess, AsksForCredentialsAndFollowsTheRules) {
  TopicsWorld world({}, config_);
  for (const char* topic : {"a/b", "b", "public/x"}) world.publish(topic, "x");
  EXPECT_EQ(status(world, "/topics/a/b"), 401u);
  EXPECT_EQ(status(world, "/topics/a/b", false_ann), 401u);
  EXPECT_EQ(status(world, "/topics/a/b", "Basic ???"), 401u);
  EXPECT_EQ(status(world, "/topics/a/b", "Bearer x"), 401u);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(status(world, "/topics/a/b", ann), 200u);
  EXPECT_EQ(status(world, "/topics/a/b", false_ann), 401u);
  EXPECT_EQ(status(world, "/topics/b", ann), 403u);
  EXPECT_EQ(status(world, "/topics/none", ann), 403u);
  EXPECT_EQ(status(world, "/topics/a/none", ann), 404u);
  EXPECT_EQ(status(world, "/topics?filter=a/%23", ann), 200u);
  EXPECT_EQ(status(world, "/topics", ann), 403u);
  EXPECT_EQ(status(world, "/topics"), 401u);
}

TEST_F(TopicsHttpAccess, LetsTheAnonymousReadWhatTheyMaySubscribeTo) {
  config_.allow_anonymous = true;
  TopicsWorld world({}, config_);
  world.publish("public/x", "x");
  EXPECT_EQ(status(world, "/topics/public/x"), 200u);
  EXPECT_EQ(status(world, "/topics/a/b"), 401u);  // who says who he is may read it
}

TEST_F(TopicsHttpAccess, ForbidsWhereNoCredentialsWouldHelp) {
  AccessConfig rules_alone;
  rules_alone.rules = {{AccessEffect::allow, std::nullopt, AccessAction::subscribe, "public/#"}};
  TopicsWorld world({}, rules_alone);
  EXPECT_EQ(status(world, "/topics/a/b"), 403u);
  EXPECT_EQ(status(world, "/topics/public/x"), 404u);
}

TEST_F(TopicsHttpAccess, ListsNothingThatIsDenied) {
  AccessConfig rules;
  rules.rules = {{AccessEffect::deny, std::nullopt, AccessAction::subscribe, "a/secret"}};
  rules.otherwise = AccessEffect::allow;
  TopicsWorld world({}, rules);
  for (const char* topic : {"a/secret", "a/open"}) world.publish(topic, "x");
  EXPECT_EQ(status(world, "/topics/a/secret"), 403u);
  EXPECT_EQ(status(world, "/topics?filter=a/secret"), 403u);
  for (const char* target : {"/topics", "/topics?filter=a/%2B", "/topics?sort=age"}) {
    const std::string list = HttpClient(world).get(target).body();
    EXPECT_NE(list.find("a/open"), std::string::npos) << list;
    EXPECT_EQ(list.find("a/secret"), std::string::npos) << list;
  }
}

TEST_F(TopicsHttpAccess, FollowsNewRulesAtOnce) {
  TopicsWorld world({}, config_);
  EXPECT_EQ(status(world, "/topics/a/b", ann), 404u);
  config_.rules.clear();
  config_.rules.push_back({AccessEffect::deny, std::nullopt, AccessAction::all, "#"});
  world.routes.set_access(access_of(config_));
  EXPECT_EQ(status(world, "/topics/a/b", ann), 403u);
}

TEST_F(TopicsHttpAccess, JudgesAWaitAnewBeforeItsAnswer) {
  TopicsWorld world({}, config_);
  HttpClient client(world);
  client.send("/topics/a/b", {{"Authorization", ann}, {"Prefer", "wait=60"}});
  world.wait_for_polls(1);
  config_.rules.clear();
  config_.rules.push_back({AccessEffect::deny, std::nullopt, AccessAction::all, "#"});
  world.routes.set_access(access_of(config_));
  world.publish("a/b", "secret");
  const Response response = client.receive();
  EXPECT_EQ(response.result_int(), 403u);
  EXPECT_EQ(response.body().find("secret"), std::string::npos);
}

// Held by the test; lets go at the latest when it ends.
class HeldWorker {
 public:
  explicit HeldWorker(Worker& worker) {
    worker.post(SIZE_MAX, {}, [held = may_go_.get_future().share()] {
      held.wait();
      return true;
    });
  }
  ~HeldWorker() { let_go(); }
  void let_go() {
    if (std::exchange(holds_, false)) may_go_.set_value();
  }

 private:
  std::promise<void> may_go_;
  bool holds_ = true;
};

TEST_F(TopicsHttpAccess, AnswersOthersWhileAPasswordIsChecked) {
  config_.allow_anonymous = true;
  TopicsWorld world({}, config_);
  world.publish("a/b", "x");
  world.publish("public/x", "x");
  HeldWorker worker(world.worker);
  HttpClient waits(world);
  waits.send("/topics/a/b", {{"Authorization", ann}});
  wait_for([&] { return world.worker.waiting() == 2; });
  EXPECT_EQ(status(world, "/topics/public/x"), 200u);
  worker.let_go();
  EXPECT_EQ(waits.receive().result_int(), 200u);
}

TEST_F(TopicsHttpAccess, TakesHalfOfTheLineOfPasswordsAndNoMore) {
  config_.password_checks_max = 4;
  TopicsWorld world({}, config_);
  HeldWorker worker(world.worker);
  HttpClient waits(world);
  waits.send("/topics/a/b", {{"Authorization", ann}});
  wait_for([&] { return world.worker.waiting() == 2; });
  const Response refused = HttpClient(world).get("/topics/a/b", {{"Authorization", ann}});
  EXPECT_EQ(refused.result_int(), 503u);
  EXPECT_EQ(header(refused, "Retry-After"), "1");
  EXPECT_EQ(world.routes.counters().password_checks_refused.value(), 1u);
  worker.let_go();
  EXPECT_EQ(waits.receive().result_int(), 404u);
  EXPECT_EQ(status(world, "/topics/a/b", ann), 404u);
}

TEST_F(TopicsHttpAccess, ForgetsAClientThatLeavesWhileItsPasswordIsChecked) {
  TopicsWorld world({}, config_);
  HeldWorker worker(world.worker);
  HttpClient leaves(world);
  leaves.send("/topics/a/b", {{"Authorization", ann}});
  wait_for([&] { return world.worker.waiting() == 2; });
  leaves.close();
  worker.let_go();
  EXPECT_EQ(status(world, "/topics/a/b", ann), 404u);
}

// --- headers ---

HttpRequest with(HttpClient::Headers headers) {
  HttpRequest request;
  request.headers = std::move(headers);
  return request;
}

TEST(TopicsHttpHeaders, ReadsPreferWait) {
  const auto wait = [](std::string text) {
    return preferred_wait_seconds(with({{"prefer", text}}));
  };
  EXPECT_EQ(wait("wait=10"), 10u);
  EXPECT_EQ(wait("respond-async, WAIT = \"7\" ; x=y"), 7u);
  EXPECT_EQ(wait("foo=\"a, wait=3\", wait=4"), 4u);
  EXPECT_EQ(wait("wait=99999999999999999999"), 4294967295u);
  for (const char* none : {"", "wait", "wait=", "wait=-1", "wait=1.5", "await=1"}) {
    EXPECT_EQ(wait(none), std::nullopt) << none;
  }
  EXPECT_EQ(preferred_wait_seconds(with({{"prefer", "x"}, {"prefer", "wait=2"}})), 2u);
}

TEST(TopicsHttpHeaders, KnowsMediaTypes) {
  for (const char* good : {"text/plain", "application/vnd.x+json; a=\"b c\"", "a/b;c=d"}) {
    EXPECT_TRUE(valid_media_type(good)) << good;
  }
  for (const char* bad : {"", "text", "/", "text/", "/plain", "a b/c", "a/b c", "a/b\n", "a/ b",
                          "a/b;c=\x80", "a/b/c", "a;b/c"}) {
    EXPECT_FALSE(valid_media_type(bad)) << bad;
  }
  EXPECT_FALSE(valid_media_type("a/" + std::string(300, 'b')));
}

}  // namespace
}  // namespace millrace::server
