// HttpTokens: secrets that programs show over HTTP (`Authorization: Bearer`), each for some purposes
// alone: a Prometheus that may read the metrics and nothing else (access.http_tokens).
//
// A token stands for a user, whose name is the token's: access.rules say which topics it may read and
// publish to. It is no way into MQTT. Only digests are kept in memory, and a token is looked up by
// its digest, so the time that this takes says nothing about it.
//
// Threads: constant after construction; any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "server/config/config.hpp"

namespace millrace::server {

enum class HttpScope : std::uint8_t { metrics = 1, read = 2, publish = 4, manage = 8 };
// Its word in the configuration.
std::string_view to_string(HttpScope scope);
std::optional<HttpScope> http_scope_of(std::string_view word);

// What one token may do.
struct HttpToken {
  std::string name;
  std::uint8_t scopes = 0;

  bool has(HttpScope scope) const { return (scopes & static_cast<std::uint8_t>(scope)) != 0; }
};

class HttpTokens {
 public:
  static constexpr std::size_t token_bytes_min = 32;
  static constexpr std::size_t token_bytes_max = 4096;

  // Reads the files. What is wrong with them is added to `faults`.
  static HttpTokens read(const std::vector<HttpTokenConfig>& config,
                         std::vector<ConfigFault>& faults);

  // Null: it is none of them.
  const HttpToken* find(std::string_view token) const;

 private:
  std::unordered_map<std::string, HttpToken> tokens_;  // by digest
};

}  // namespace millrace::server
