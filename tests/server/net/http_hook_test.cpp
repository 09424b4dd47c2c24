// The hook against a service of the test's: what it makes of answers, of none, and of too many clients.
#include "server/net/http_hook.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <future>
#include <map>
#include <nlohmann/json.hpp>

namespace millrace::server {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

// Answers each path as it was told to, one request after the other; a path of which it was told
// nothing not at all, and keeps the connection.
class Service {
 public:
  Service() {
    acceptor_.open(asio::ip::tcp::v4());
    acceptor_.bind({asio::ip::make_address("127.0.0.1"), 0});
    acceptor_.listen();
    port_ = acceptor_.local_endpoint().port();
  }
  ~Service() { stop(); }

  void answer(const std::string& path, unsigned status, std::string body = "") {
    answers_[path] = {status, std::move(body)};
  }
  // After all of answer().
  void start() {
    thread_ = std::thread([this] { run(); });
  }
  void stop() {
    if (!thread_.joinable()) return;
    stopping_ = true;
    asio::ip::tcp::socket wake(context_);
    boost::system::error_code ignored;
    wake.connect({asio::ip::make_address("127.0.0.1"), port_}, ignored);
    thread_.join();
  }
  std::string url(const std::string& path) const {
    return "http://127.0.0.1:" + std::to_string(port_) + path;
  }
  int count() const { return count_; }
  std::vector<std::string> bodies;  // after stop()

 private:
  void run() {
    while (true) {
      asio::ip::tcp::socket socket = acceptor_.accept();
      if (stopping_) return;
      beast::flat_buffer buffer;
      http::request<http::string_body> request;
      boost::system::error_code error;
      http::read(socket, buffer, request, error);
      if (error) continue;
      ++count_;
      bodies.push_back(request.body());
      const auto found = answers_.find(std::string(request.target()));
      if (found == answers_.end()) {
        silent_.push_back(std::move(socket));
        continue;
      }
      http::response<http::string_body> response(static_cast<http::status>(found->second.first),
                                                 11);
      response.body() = found->second.second;
      response.prepare_payload();
      http::write(socket, response, error);
    }
  }

  asio::io_context context_;
  asio::ip::tcp::acceptor acceptor_{context_};
  std::uint16_t port_ = 0;
  std::map<std::string, std::pair<unsigned, std::string>> answers_;
  std::vector<asio::ip::tcp::socket> silent_;
  std::atomic<int> count_{0};
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

struct HttpHookTest : testing::Test {
  HttpHookConfig config(const std::string& authenticate, const std::string& authorize = "") {
    HttpHookConfig config;
    config.authenticate_url = service.url(authenticate);
    if (!authorize.empty()) config.authorize_url = service.url(authorize);
    config.timeout_ms = 60'000;
    config.cache_seconds = 0;
    return config;
  }
  static HttpHook::Question question(std::string password = "secret") {
    return {"c", "ann", std::move(password), "192.0.2.1", "tcp"};
  }
  static HttpHook::Answer asked(HttpHook& hook, HttpHook::Question question) {
    std::promise<HttpHook::Answer> said;
    EXPECT_TRUE(hook.ask(std::move(question),
                         [&](HttpHook::Answer answer) { said.set_value(std::move(answer)); }));
    return said.get_future().get();
  }

  Service service;
};

TEST_F(HttpHookTest, TellsTheServiceWhoComesAndFollowsItsWord) {
  service.answer("/yes", 200, R"({"allow":true})");
  service.answer("/no", 200, R"({"allow":false})");
  service.answer("/forbidden", 403);
  service.start();
  HttpHook yes(config("/yes")), no(config("/no")), forbidden(config("/forbidden"));
  const auto answer = asked(yes, question());
  EXPECT_TRUE(answer.allowed);
  EXPECT_FALSE(answer.failed);
  EXPECT_EQ(answer.carried, nullptr);
  for (HttpHook* hook : {&no, &forbidden}) {
    const auto refused = asked(*hook, question());
    EXPECT_FALSE(refused.allowed);
    EXPECT_FALSE(refused.failed);
  }
  service.stop();
  EXPECT_EQ(nlohmann::json::parse(service.bodies.at(0)),
            nlohmann::json::parse(R"({"client_id":"c","user":"ann","password":"secret",
                                      "address":"192.0.2.1","listener":"tcp"})"));
}

TEST_F(HttpHookTest, TakesRulesFromTheSecondAnswer) {
  service.answer("/yes", 200, R"({"allow":true})");
  service.answer("/rules", 200, R"({ "publish": ["a/#"], "subscribe": [] })");
  service.answer("/none", 403);
  service.start();
  HttpHook hook(config("/yes", "/rules")), forbidden(config("/yes", "/none"));
  const auto answer = asked(hook, question());
  ASSERT_TRUE(answer.allowed);
  ASSERT_NE(answer.carried, nullptr);
  EXPECT_FALSE(answer.carried->publish->refusal("a/b"));
  EXPECT_TRUE(answer.carried->publish->refusal("b"));
  EXPECT_EQ(answer.rules, R"({"publish":["a/#"],"subscribe":[]})");
  EXPECT_FALSE(asked(forbidden, question()).allowed);
  service.stop();
  EXPECT_EQ(service.bodies.at(1).find("secret"), std::string::npos);
}

TEST_F(HttpHookTest, FailsWhereTheAnswerIsNoneThatItKnows) {
  service.answer("/error", 500);
  service.answer("/text", 200, "yes");
  service.answer("/word", 200, R"({"allow":"true"})");
  service.answer("/large", 200, R"({"allow":true,"x":")" + std::string(100'000, 'x') + "\"}");
  service.answer("/yes", 200, R"({"allow":true})");
  service.answer("/rules", 200, R"({"publish":["a/#/b"]})");
  service.start();
  for (const char* path : {"/error", "/text", "/word", "/large"}) {
    HttpHook hook(config(path));
    const auto answer = asked(hook, question());
    EXPECT_TRUE(answer.failed) << path;
    EXPECT_FALSE(answer.allowed) << path;
  }
  HttpHook rules(config("/yes", "/rules"));
  EXPECT_TRUE(asked(rules, question()).failed);
}

TEST_F(HttpHookTest, FailsClosedOrOpenWhereThereIsNoAnswer) {
  service.start();
  HttpHookConfig closed = config("/silent"), open = closed;
  closed.timeout_ms = open.timeout_ms = 50;
  open.on_failure = AccessEffect::allow;
  HttpHook closing(closed), opening(open);
  EXPECT_FALSE(asked(closing, question()).allowed);
  EXPECT_TRUE(asked(opening, question()).allowed);
  service.stop();
  // Nobody listens there any more.
  HttpHookConfig gone = closed;
  gone.authenticate_url = "http://127.0.0.1:1/";
  gone.timeout_ms = 60'000;
  HttpHook nobody(gone);
  EXPECT_TRUE(asked(nobody, question()).failed);
}

TEST_F(HttpHookTest, RemembersAnAnswerForTheSameClientWithTheSamePassword) {
  service.answer("/yes", 200, R"({"allow":true})");
  service.start();
  HttpHookConfig remembering = config("/yes");
  remembering.cache_seconds = 3600;
  remembering.cache_max = 2;
  HttpHook hook(remembering);
  asked(hook, question());
  asked(hook, question());
  EXPECT_EQ(service.count(), 1);
  asked(hook, question("other"));
  EXPECT_EQ(service.count(), 2);
  hook.forget();
  asked(hook, question());
  EXPECT_EQ(service.count(), 3);
  asked(hook, question("2"));
  asked(hook, question("3"));  // the oldest one's place
  asked(hook, question());
  EXPECT_EQ(service.count(), 6);
}

TEST_F(HttpHookTest, ForgetsAnAnswerWhenItsTimeIsOver) {
  service.answer("/yes", 200, R"({"allow":true})");
  service.start();
  HttpHookConfig remembering = config("/yes");
  remembering.cache_seconds = 1;
  HttpHook hook(remembering);
  asked(hook, question());
  // Nothing tells when the second is over but that the service is asked again.
  while (service.count() == 1) EXPECT_TRUE(asked(hook, question()).allowed);
  EXPECT_EQ(service.count(), 2);
}

TEST_F(HttpHookTest, RefusesWhoIsTooMany) {
  service.start();
  HttpHookConfig narrow = config("/silent");
  narrow.waiting_max = 8;
  HttpHook hook(narrow);
  const auto ask = [&](const char* address) {
    return hook.ask({"c", "ann", "secret", address, "tcp"}, [](const HttpHook::Answer&) {});
  };
  EXPECT_TRUE(ask("192.0.2.1"));
  EXPECT_TRUE(ask("192.0.2.1"));
  EXPECT_FALSE(ask("192.0.2.1"));  // a quarter is one address's
  for (const char* address : {"192.0.2.2", "192.0.2.3", "192.0.2.4"}) {
    EXPECT_TRUE(ask(address));
    EXPECT_TRUE(ask(address));
  }
  EXPECT_FALSE(ask("192.0.2.5"));
}

// The first stands still; the second, on a connection of its own, does not.
TEST_F(HttpHookTest, OneRequestThatIsNotAnsweredHoldsUpNoOther) {
  service.answer("/yes", 200, R"({"allow":true})");
  service.start();
  HttpHookConfig two = config("/yes");
  two.connections_max = 2;
  HttpHook silent(config("/silent")), hook(two);
  ASSERT_TRUE(silent.ask(question(), [](const HttpHook::Answer&) {}));
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(asked(hook, question()).allowed);
}

TEST_F(HttpHookTest, RefusesAPasswordThatIsNoText) {
  service.answer("/yes", 200, R"({"allow":true})");
  service.start();
  HttpHook hook(config("/yes"));
  EXPECT_FALSE(asked(hook, question("\xff\xfe")).allowed);
  EXPECT_EQ(service.count(), 0);
}

}  // namespace
}  // namespace millrace::server
