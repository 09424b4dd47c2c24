// May this HTTP client read those topics? HTTP Basic authentication (RFC 7617) in front of Access,
// the one place that knows users and rules: reading over HTTP needs the rights of a subscription.
//
// A password costs milliseconds of CPU to verify and HTTP clients send it with every request, so
// what was verified is remembered (as a digest, never the password) until the rules change.
//
// Threads: set() any; judge() the HTTP thread.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "server/access.hpp"
#include "server/http.hpp"

namespace millrace::server {

// Of "Basic dXNlcjpwYXNz".
struct BasicCredentials {
  std::string user;
  std::string password;
};
std::optional<BasicCredentials> parse_basic_credentials(std::string_view authorization);

class HttpAccess {
 public:
  explicit HttpAccess(std::shared_ptr<const Access> access) : access_(std::move(access)) {}

  // The rules of a reload. A request that is under way keeps what it was granted.
  void set(std::shared_ptr<const Access> access);

  // Whether the client may read what `filter` matches, and which rules it has to ask about each
  // topic (null: none). Refused, what to answer: 401, or 403 where other credentials are not asked
  // for.
  struct Verdict {
    std::optional<HttpResponse> refusal;
    Grants::ReadRules rules;
  };
  Verdict judge(const HttpRequest& request, std::string_view filter);

 private:
  static constexpr std::size_t verified_max = 256;

  std::shared_ptr<const Access> current() const;
  // Null: refused.
  std::shared_ptr<const Grants> grants_of(const Access& access, std::string_view authorization);
  std::shared_ptr<const Grants> verify(const Access& access, std::string_view authorization);

  mutable std::mutex mutex_;
  std::shared_ptr<const Access> access_;  // under mutex_

  // The HTTP thread's: digests of Authorization headers that verified_by_ accepted.
  std::shared_ptr<const Access> verified_by_;
  std::map<std::string, std::shared_ptr<const Grants>, std::less<>> verified_;
};

}  // namespace millrace::server
