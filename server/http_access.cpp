#include "server/http_access.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <boost/beast/core/string.hpp>
#include <utility>
#include <vector>

namespace millrace::server {

namespace {

std::optional<std::string> decode_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::vector<unsigned char> bytes(text.size() / 4 * 3);
  const int count =
      EVP_DecodeBlock(bytes.data(), reinterpret_cast<const unsigned char*>(text.data()),
                      static_cast<int>(text.size()));
  if (count != static_cast<int>(bytes.size())) return std::nullopt;
  std::size_t padding = 0;  // comes out as zero bytes
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  return std::string(bytes.begin(), bytes.end() - static_cast<std::ptrdiff_t>(padding));
}

std::string digest_of(std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int bytes = 0;
  if (EVP_Digest(text.data(), text.size(), digest.data(), &bytes, EVP_sha256(), nullptr) != 1) {
    return {};
  }
  return {digest.begin(), digest.begin() + bytes};
}

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
  const auto text = decode_base64(authorization);
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

std::optional<HttpResponse> HttpAccess::refusal(const HttpRequest& request,
                                                std::string_view filter) {
  const auto access = current();
  if (verified_by_ != access) {
    verified_.clear();
    verified_by_ = access;
  }
  const std::string_view authorization = request.header("authorization");
  const auto grants = grants_of(*access, authorization);
  if (!grants) return unauthorized();
  if (grants->may_subscribe(filter)) return std::nullopt;
  // Somebody who has not said who he is may be somebody who may.
  if (authorization.empty() && access->verifies_names()) return unauthorized();
  return forbidden(filter);
}

std::shared_ptr<const Grants> HttpAccess::grants_of(const Access& access,
                                                    std::string_view authorization) {
  if (authorization.empty() || !access.verifies_names()) return verify(access, authorization);
  const std::string digest = digest_of(authorization);
  if (const auto found = verified_.find(digest); found != verified_.end()) return found->second;
  auto grants = verify(access, authorization);
  if (!grants || digest.empty()) return grants;
  if (verified_.size() >= verified_max) verified_.clear();
  verified_.emplace(digest, grants);
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
