#include "server/http/access.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/beast/core/string.hpp>
#include <ctime>
#include <utility>

#include "server/auth/crypto.hpp"
#include "server/http/refusal.hpp"

namespace millrace::server {

namespace {

constexpr const char* password_needed = "a user name and a password are needed";
constexpr const char* too_many_checks =
    "too many passwords wait to be checked (access.password_checks_max)";
constexpr const char* banned_address =
    "logins from this address failed too often, it has to wait (access.ban)";

HttpResponse lacks(HttpScope scope) {
  return refusal(403, "the token has not the scope " + std::string(to_string(scope)));
}

// Null: the name, password or token is wrong, or none was sent and anonymous clients are refused.
// Any thread.
std::shared_ptr<const Grants> grants_of(const Access& access, const HttpRequest& request) {
  const std::string_view authorization = request.header("authorization");
  const broker::Arrival arrival{{}, request.peer, http_listener};
  if (const auto token = parse_bearer_token(authorization)) {
    const auto grants = access.authenticate_token(*token, arrival);
    return grants ? *grants : nullptr;
  }
  std::optional<BasicCredentials> credentials;
  if (!authorization.empty()) {
    credentials = parse_basic_credentials(authorization);
    if (!credentials) return nullptr;
  }
  const auto grants = credentials
                          ? access.authenticate(credentials->user, credentials->password, arrival)
                          : access.authenticate(std::nullopt, std::nullopt, arrival);
  return grants ? *grants : nullptr;
}

// The token by which somebody came.
bool has_ended(const Grants& grants) {
  return grants.expires_at_s() != 0 && std::time(nullptr) >= grants.expires_at_s();
}

HttpAccess::Verdict verdict(const std::shared_ptr<const Access>& access,
                            const std::shared_ptr<const Grants>& grants,
                            std::string_view authorization, std::string_view filter) {
  if (!grants) return {unauthorized(password_needed), nullptr, access, nullptr};
  if (filter.empty()) return {std::nullopt, nullptr, access, grants};
  if (auto rules = grants->subscription(filter)) {
    return {std::nullopt, std::move(*rules), access, grants};
  }
  // Without credentials: 401 asks for them, as a user may be allowed what the anonymous are not.
  if (authorization.empty() && access->verifies_names()) {
    return {unauthorized(password_needed), nullptr, access, nullptr};
  }
  return {refusal(403, "not allowed to read " + std::string(filter)), nullptr, access, nullptr};
}

}  // namespace

std::optional<std::string> parse_bearer_token(std::string_view authorization) {
  constexpr std::string_view scheme = "bearer ";
  if (!boost::beast::iequals(authorization.substr(0, scheme.size()), scheme)) return std::nullopt;
  const auto begin = authorization.find_first_not_of(' ', scheme.size());
  return std::string(authorization.substr(std::min(begin, authorization.size())));
}

std::optional<BasicCredentials> parse_basic_credentials(std::string_view authorization) {
  const auto space = authorization.find(' ');
  if (space == std::string_view::npos ||
      !boost::beast::iequals(authorization.substr(0, space), "basic")) {
    return std::nullopt;
  }
  authorization.remove_prefix(std::min(authorization.find_first_not_of(' ', space),  //
                                       authorization.size()));
  const auto text = from_base64(authorization);
  if (!text) return std::nullopt;
  const auto colon = text->find(':');
  if (colon == std::string::npos) return std::nullopt;
  return BasicCredentials{text->substr(0, colon), text->substr(colon + 1)};
}

namespace {

HttpAccess::Verdict verdict_of_token(const std::shared_ptr<const Access>& access,
                                     const HttpToken& token, const HttpRequest& request,
                                     std::string_view filter) {
  if (!filter.empty() && !token.has(HttpScope::read)) {
    return {lacks(HttpScope::read), nullptr, access, nullptr, token};
  }
  const auto grants = access->grants_of(token.name, {{}, request.peer, http_listener});
  auto made = verdict(access, grants, request.header("authorization"), filter);
  made.token = token;
  return made;
}

}  // namespace

void HttpAccess::set(std::shared_ptr<const Access> access) {
  const std::lock_guard lock(mutex_);
  access_ = std::move(access);
}

std::shared_ptr<const Access> HttpAccess::current() const {
  const std::lock_guard lock(mutex_);
  return access_;
}

bool HttpAccess::is_current(const Verdict& verdict) const {
  return verdict.by == current() && (!verdict.grants || !has_ended(*verdict.grants));
}

void HttpAccess::judge(const HttpExchange::Ptr& exchange, std::string filter, Then then) {
  const auto access = current();
  if (is_banned(exchange->request())) {
    return then({refusal(403, banned_address), nullptr, access, nullptr});
  }
  if (verified_by_ != access) {
    verified_.clear();
    verified_by_ = access;
  }
  const std::string_view authorization = exchange->request().header("authorization");
  if (const auto bearer = parse_bearer_token(authorization)) {
    if (const HttpToken* token = access->http_tokens().find(*bearer)) {
      return then(verdict_of_token(access, *token, exchange->request(), filter));
    }
  }
  if (authorization.empty() || !access->verifies_names()) {
    const auto grants = grants_of(*access, exchange->request());
    if (!grants) note_failure(exchange->request());
    return then(verdict(access, grants, authorization, filter));
  }
  // Rights can depend on the address.
  std::string hash =
      digest(Digest::sha256, exchange->request().peer + '\n' + std::string(authorization));
  if (const auto found = verified_.find(hash); found != verified_.end()) {
    if (!has_ended(*found->second)) {
      return then(verdict(access, found->second, authorization, filter));
    }
    verified_.erase(found);
  }
  check(exchange, std::move(hash), std::move(filter), std::move(then));
}

void HttpAccess::judge_metrics(const HttpExchange::Ptr& exchange, Then then) {
  identify(exchange, [then](Verdict verdict) {
    if (verdict.refusal) return then(std::move(verdict));
    if (verdict.grants->user().empty()) {
      verdict.refusal = unauthorized(password_needed);
    } else if (!verdict.has(HttpScope::metrics)) {
      verdict.refusal = lacks(HttpScope::metrics);
    } else if (!verdict.token && !verdict.grants->subscription("$SYS/#")) {
      verdict.refusal = refusal(403, "not allowed to read $SYS/#");
    }
    then(std::move(verdict));
  });
}

void HttpAccess::check(const HttpExchange::Ptr& exchange, std::string hash, std::string filter,
                       Then then) {
  const auto task = [this, exchange, access = verified_by_, hash = std::move(hash),
                     filter = std::move(filter), then] {
    auto grants = grants_of(*access, exchange->request());
    const bool right = grants != nullptr;
    boost::asio::post(http_, [=, this] {
      if (access != current()) return judge(exchange, filter, then);  // a reload meanwhile
      if (grants && verified_by_ == access) remember(hash, grants);
      if (!grants) note_failure(exchange->request());
      then(verdict(access, grants, exchange->request().header("authorization"), filter));
    });
    return right;
  };
  const auto credentials = parse_basic_credentials(exchange->request().header("authorization"));
  Login login{exchange->request().peer, ""};
  if (credentials) {
    login.user = verified_by_->name_to_prove(credentials->user, credentials->password);
  }
  // Half of the checks that may wait, so that HTTP requests never use up the places for MQTT clients.
  const std::size_t limit = verified_by_->password_checks_max() / 2;
  const auto refused = [this, then] {
    boost::asio::post(http_, [this, then] {
      checks_refused_.add();
      then({busy(too_many_checks), nullptr, nullptr});
    });
  };
  if (const auto ticket = worker_.post(limit, std::move(login), task, refused)) {
    return exchange->on_gone([this, ticket] { worker_.cancel(ticket); });
  }
  checks_refused_.add();
  then({busy(too_many_checks), nullptr, nullptr});
}

bool HttpAccess::is_banned(const HttpRequest& request) {
  return guests_ != nullptr &&
         guests_->refuse_request(address_group(request.peer), Guests::Clock::now());
}

void HttpAccess::note_failure(const HttpRequest& request) {
  if (guests_ == nullptr || request.header("authorization").empty()) return;
  guests_->note_failure(address_group(request.peer), Guests::Clock::now());
}

void HttpAccess::remember(const std::string& hash, GrantsRef grants) {
  if (verified_.size() >= verified_max) verified_.clear();
  verified_.emplace(hash, std::move(grants));
}

}  // namespace millrace::server
