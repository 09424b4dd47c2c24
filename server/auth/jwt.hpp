// JSON Web Tokens: who a client is, as somebody says whose key is configured (`access.jwt`).
//
// What is verified, in this order: the form and the length; the header's algorithm against that of
// the key, so that `none`, and a public key taken for a secret, are refused; the signature; the
// times, with the leeway; issuer and audience; the user name; the rules that the token carries.
// Nothing of the claims is looked at before the signature is right.
//
// Source: RFC 7519, 7515, 8725.
//
// Threads: constant after construction; any.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/broker/rights.hpp"
#include "server/auth/jwt_keys.hpp"
#include "server/config/config.hpp"

namespace millrace::server {

// What a token that was verified says.
struct JwtClaims {
  std::string user;
  std::int64_t expires_at_s = 0;                        // in Unix time, leeway included; 0: never
  std::string rules;                                    // as text; empty: none
  std::shared_ptr<const broker::CarriedRules> carried;  // the same; null: none
  std::string key;  // which key, under which settings: changes with either
};

// Of JwtClaims::rules. Null: it is nothing of the kind.
std::shared_ptr<const broker::CarriedRules> parse_carried_rules(std::string_view text);

class JwtVerifier {
 public:
  static constexpr std::size_t token_bytes_max = 16 * 1024;

  // Reads the files. What is wrong is added to `faults`; then the result is null, as it is where no
  // keys are configured.
  static std::shared_ptr<const JwtVerifier> make(const JwtConfig& config,
                                                 std::vector<ConfigFault>& faults);
  // `config` without its files.
  JwtVerifier(const JwtConfig& config, std::vector<JwtKey> keys);

  // Three parts with dots between: then a password is a token, and nothing else.
  static bool looks_like_token(std::string_view password);

  // Nothing: it is refused, and `fault` says why.
  std::optional<JwtClaims> verify(std::string_view token, std::int64_t now_s,
                                  const char*& fault) const;
  // Whether JwtClaims::key is of a key and settings that still hold.
  bool knows(std::string_view key) const;
  // Whether whoever reads access.jwt.keys_file could sign tokens: there are secrets in it.
  bool has_secrets_in_set() const;

 private:
  std::string key_name(const JwtKey& key) const;

  const JwtConfig config_;
  const std::vector<JwtKey> keys_;
};

}  // namespace millrace::server
