// May this HTTP client read those topics? HTTP Basic authentication (RFC 7617), or a token (RFC
// 6750), in front of Access, the one place that knows users and rules: reading over HTTP needs the
// rights of a subscription. A token is a JWT, as in MQTT, or one of access.http_tokens, which has
// scopes beside the rights of its name.
//
// A password costs milliseconds of CPU to verify, so the worker does it, beside the HTTP thread:
// who tries many holds up neither a scrape nor a health check. HTTP clients send it with every
// request, so what was verified is remembered (as a digest, never the password) until the rules
// change.
//
// A name, password or token that is wrong counts as a failed login of its address, as over MQTT
// (access.ban). A banned address is told 403 before anything is looked at; who sends no credentials
// is asked for them, and has not failed.
//
// Threads: set() any; judge() the HTTP thread. The worker is stopped before this is destroyed.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "server/auth/access.hpp"
#include "server/auth/worker.hpp"
#include "server/http/server.hpp"
#include "server/net/guests.hpp"

namespace millrace::server {

// Of "Basic dXNlcjpwYXNz".
struct BasicCredentials {
  std::string user;
  std::string password;
};
std::optional<BasicCredentials> parse_basic_credentials(std::string_view authorization);

// Of "Bearer TOKEN" (RFC 6750).
std::optional<std::string> parse_bearer_token(std::string_view authorization);

class HttpAccess {
 public:
  // `checks_refused` counts requests that were refused because too many passwords wait. Without
  // `guests` nobody is banned.
  HttpAccess(boost::asio::io_context& http, Worker& worker, Counter& checks_refused,
             std::shared_ptr<const Access> access, Guests* guests = nullptr)
      : http_(http),
        worker_(worker),
        checks_refused_(checks_refused),
        guests_(guests),
        access_(std::move(access)) {}

  // Whether the client may read what `filter` matches, which rules it has to ask about each topic
  // (null: none), and all that it may do. Refused, what to answer: 401; 403 where other credentials
  // are not asked for, or its address is banned; 503 where too many passwords wait to be checked already.
  struct Verdict {
    std::optional<HttpResponse> refusal;
    Grants::ReadRules rules;
    std::shared_ptr<const Access> by;
    std::shared_ptr<const Grants> grants = nullptr;  // null if refused
    std::optional<HttpToken> token = std::nullopt;   // of access.http_tokens, if it came by one

    // Whether it did not come by a token without that scope.
    bool has(HttpScope scope) const { return !token || token->has(scope); }
  };
  // The rules of a reload. A request that waits is to be judged anew before it is answered.
  void set(std::shared_ptr<const Access> access);
  // False: judge it anew. There was a reload, or the token that it came by has ended.
  bool is_current(const Verdict& verdict) const;

  // `then` is called on the HTTP thread: at once, or when the password was checked.
  using Then = std::function<void(Verdict)>;
  void judge(const HttpExchange::Ptr& exchange, std::string filter, Then then);
  // Whether it may read the metrics, where they are not for everybody (http.metrics_public).
  void judge_metrics(const HttpExchange::Ptr& exchange, Then then);
  // Who the client is, whatever it may read.
  void identify(const HttpExchange::Ptr& exchange, Then then) { judge(exchange, "", then); }

  // The rules in force. Any thread.
  std::shared_ptr<const Access> current() const;

 private:
  static constexpr std::size_t verified_max = 256;

  using GrantsRef = std::shared_ptr<const Grants>;  // null: refused

  void check(const HttpExchange::Ptr& exchange, std::string hash, std::string filter, Then then);
  void remember(const std::string& hash, GrantsRef grants);
  bool is_banned(const HttpRequest& request);
  void note_failure(const HttpRequest& request);

  boost::asio::io_context& http_;
  Worker& worker_;
  Counter& checks_refused_;
  Guests* const guests_;  // null: nobody is banned
  mutable std::mutex mutex_;
  std::shared_ptr<const Access> access_;  // under mutex_

  // The HTTP thread's: digests of Authorization headers that verified_by_ accepted.
  std::shared_ptr<const Access> verified_by_;
  std::map<std::string, GrantsRef, std::less<>> verified_;
};

}  // namespace millrace::server
