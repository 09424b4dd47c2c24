#include "server/auth/http_tokens.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "server/auth/crypto.hpp"
#include "server/config/suggest.hpp"

namespace millrace::server {

namespace {

constexpr std::array<std::pair<std::string_view, HttpScope>, 4> words = {
    {{"metrics", HttpScope::metrics},
     {"read", HttpScope::read},
     {"publish", HttpScope::publish},
     {"manage", HttpScope::manage}}};

// RFC 6750, section 2.1.
bool is_token(std::string_view text) {
  constexpr std::string_view marks = "-._~+/=";
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           marks.find(c) != std::string_view::npos;
  });
}

// The first line of the file; "": it is no token, and that is a fault.
std::string read_token(const std::string& path, const std::string& key,
                       std::vector<ConfigFault>& faults) {
  const auto refuse = [&](const std::string& why) {
    faults.push_back({key, why, ""});
    return std::string();
  };
  if (path.empty()) return refuse("is needed");
  std::ifstream file(path, std::ios::binary);
  if (!file.is_open()) return refuse("cannot read " + path + ": " + std::strerror(errno));
  std::string text(HttpTokens::token_bytes_max + 2, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  text.resize(std::min(text.find('\n'), text.size()));
  if (text.ends_with('\r')) text.pop_back();
  if (text.empty()) return refuse("has no first line: " + path);
  if (text.size() < HttpTokens::token_bytes_min) return refuse("has less than 32 bytes: " + path);
  if (text.size() > HttpTokens::token_bytes_max)
    return refuse("is longer than 4,096 bytes: " + path);
  if (!is_token(text)) return refuse("has characters other than A-Z a-z 0-9 -._~+/= : " + path);
  return text;
}

}  // namespace

std::string_view to_string(HttpScope scope) {
  for (const auto& [word, candidate] : words) {
    if (candidate == scope) return word;
  }
  return "unknown";
}

std::optional<HttpScope> http_scope_of(std::string_view word) {
  for (const auto& [candidate, scope] : words) {
    if (candidate == word) return scope;
  }
  return std::nullopt;
}

HttpTokens HttpTokens::read(const std::vector<HttpTokenConfig>& config,
                            std::vector<ConfigFault>& faults) {
  HttpTokens tokens;
  for (std::size_t i = 0; i < config.size(); ++i) {
    const HttpTokenConfig& one = config[i];
    const std::string path = "access.http_tokens[" + std::to_string(i) + "].";
    HttpToken token{one.name, 0};
    for (const std::string& word : one.scopes) {
      const auto scope = http_scope_of(word);
      if (scope) {
        token.scopes |= static_cast<std::uint8_t>(*scope);
      } else {
        faults.push_back({path + "scopes",
                          "must be metrics, read, publish or manage, not \"" + word + "\"" +
                              suggestion(word, {"metrics", "read", "publish", "manage"}),
                          ""});
      }
    }
    if (one.scopes.empty()) faults.push_back({path + "scopes", "at least one is needed", ""});
    if (one.name.empty()) faults.push_back({path + "name", "is needed", ""});
    const std::string text = read_token(one.token_file, path + "token_file", faults);
    if (text.empty()) continue;
    if (!tokens.tokens_.emplace(digest(Digest::sha256, text), std::move(token)).second) {
      faults.push_back({path + "token_file", "is the token of another one", ""});
    }
  }
  return tokens;
}

const HttpToken* HttpTokens::find(std::string_view token) const {
  if (tokens_.empty() || token.size() > token_bytes_max) return nullptr;
  const auto found = tokens_.find(digest(Digest::sha256, token));
  return found == tokens_.end() ? nullptr : &found->second;
}

}  // namespace millrace::server
