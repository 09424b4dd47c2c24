#include "server/http_access.hpp"

#include <algorithm>
#include <boost/beast/core/string.hpp>
#include <utility>

#include "server/crypto.hpp"

namespace millrace::server {

namespace {

HttpResponse unauthorized() {
  HttpResponse response;
  response.status = 401;
  response.body = "a user name and a password are needed\n";
  response.headers.emplace_back("WWW-Authenticate", "Basic realm=\"millrace\", charset=\"UTF-8\"");
  return response;
}

HttpResponse forbidden(std::string_view filter) {
  HttpResponse response;
  response.status = 403;
  response.body = "not allowed to read " + std::string(filter) + "\n";
  return response;
}

}  // namespace

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

void HttpAccess::set(std::shared_ptr<const Access> access) {
  const std::lock_guard lock(mutex_);
  access_ = std::move(access);
}

std::shared_ptr<const Access> HttpAccess::current() const {
  const std::lock_guard lock(mutex_);
  return access_;
}

HttpAccess::Verdict HttpAccess::judge(const HttpRequest& request, std::string_view filter) {
  const auto access = current();
  if (verified_by_ != access) {
    verified_.clear();
    verified_by_ = access;
  }
  const std::string_view authorization = request.header("authorization");
  const auto grants = grants_of(*access, authorization);
  if (!grants) return {unauthorized(), nullptr};
  if (auto rules = grants->subscription(filter)) return {std::nullopt, std::move(*rules)};
  // Somebody who has not said who he is may be somebody who may.
  if (authorization.empty() && access->verifies_names()) return {unauthorized(), nullptr};
  return {forbidden(filter), nullptr};
}

std::shared_ptr<const Grants> HttpAccess::grants_of(const Access& access,
                                                    std::string_view authorization) {
  if (authorization.empty() || !access.verifies_names()) return verify(access, authorization);
  const std::string hash = digest(Digest::sha256, authorization);
  if (const auto found = verified_.find(hash); found != verified_.end()) return found->second;
  auto grants = verify(access, authorization);
  if (!grants) return grants;
  if (verified_.size() >= verified_max) verified_.clear();
  verified_.emplace(hash, grants);
  return grants;
}

std::shared_ptr<const Grants> HttpAccess::verify(const Access& access,
                                                 std::string_view authorization) {
  std::optional<BasicCredentials> credentials;
  if (!authorization.empty()) {
    credentials = parse_basic_credentials(authorization);
    if (!credentials) return nullptr;
  }
  const auto grants = credentials ? access.authenticate(credentials->user, credentials->password)
                                  : access.authenticate(std::nullopt, std::nullopt);
  return grants ? *grants : nullptr;
}

}  // namespace millrace::server
