// Who asks over HTTP, and whose address is banned for what it guessed.
#include "server/http/access.hpp"

#include <gtest/gtest.h>

#include <boost/asio/executor_work_guard.hpp>
#include <string>

#include "server/auth/password_file.hpp"
#include "tests/server/files.hpp"
#include "tests/server/http/topics_world.hpp"

namespace millrace::server {
namespace {

constexpr const char* ann = "Basic YW5uOnNlY3JldA==";        // ann:secret
constexpr const char* false_ann = "Basic YW5uOndyb25nISEh";  // ann:wrong!!!

class HttpBans : public testing::Test {
 protected:
  ~HttpBans() override { worker_.stop(); }

  unsigned ask(const std::string& peer, const std::string& authorization) {
    HttpRequest request;
    request.method = "GET";
    request.peer = peer;
    if (!authorization.empty()) request.headers.emplace_back("authorization", authorization);
    const auto exchange = std::make_shared<HttpExchange>(std::move(request), [](HttpResponse) {});
    std::optional<unsigned> status;
    access_.judge(exchange, "a/b", [&](HttpAccess::Verdict verdict) {
      status = verdict.refusal ? verdict.refusal->status : 200u;
    });
    while (!status) context_.run_one();
    return *status;
  }
  std::size_t banned() const { return guests_.banned(Guests::Clock::now()); }

 private:
  static Config with_ban() {
    Config config;
    config.access.ban = {3, 3600, 3600};
    return config;
  }
  AccessConfig users() const {
    AccessConfig config;
    config.password_file =
        folder_.write("passwd", "ann:" + PasswordHash::make("secret", 10).to_string() + "\n");
    config.rules = {{AccessEffect::allow, "ann", AccessAction::subscribe, "a/#"}};
    return config;
  }

  const test::Folder folder_;
  boost::asio::io_context context_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{
      context_.get_executor()};
  Worker worker_;
  Counter checks_refused_;
  Guests guests_{with_ban()};
  HttpAccess access_{context_, worker_, checks_refused_, access_of(users()), &guests_};
};

TEST_F(HttpBans, WhoGuessesIsRefusedWithoutBeingLookedAt) {
  for (const char* guess : {false_ann, "Basic ???", "Bearer x"}) {
    EXPECT_EQ(ask("10.0.0.1", guess), 401u) << guess;
  }
  EXPECT_EQ(banned(), 1u);
  EXPECT_EQ(ask("10.0.0.1", ann), 403u);
  EXPECT_EQ(ask("10.0.0.1", ""), 403u);
  EXPECT_EQ(ask("10.0.0.2", ann), 200u);
}

TEST_F(HttpBans, WhoIsAskedForCredentialsHasNotFailed) {
  for (int i = 0; i < 10; ++i) EXPECT_EQ(ask("10.0.0.1", ""), 401u);
  EXPECT_EQ(ask("10.0.0.1", ann), 200u);
  EXPECT_EQ(banned(), 0u);
}

TEST_F(HttpBans, ThisMachineIsNeverBanned) {
  for (int i = 0; i < 5; ++i) EXPECT_EQ(ask("127.0.0.1", "Bearer x"), 401u);
  EXPECT_EQ(banned(), 0u);
}

}  // namespace
}  // namespace millrace::server
