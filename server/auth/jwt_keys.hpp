// The keys by which JSON Web Tokens are verified, and what a signature is worth under each.
//
// A key has one algorithm, which its kind decides: RSA RS256, the curve P-256 ES256, Ed25519 EdDSA,
// a secret HS256. A token cannot choose: what its header says is only compared (jwt.hpp). A file
// with keys that cannot be used is refused as a whole.
//
// Source: RFC 7515, 7517, 7518, 8037; the signatures are OpenSSL's.
//
// Threads: constant after construction; any.
#pragma once

#include <openssl/types.h>

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::server {

enum class JwtAlgorithm : std::uint8_t { hs256, rs256, es256, eddsa };
std::string_view to_string(JwtAlgorithm);  // as in the header of a token: "RS256"

class JwtKey {
 public:
  // RFC 7518, section 3.2: at least as long as the hash.
  static constexpr std::size_t secret_bytes_min = 32;

  static JwtKey of_secret(std::string secret, std::string id = "");
  // Takes a reference. Nothing: it is of no kind that is known here, or too weak; `fault` says so.
  static std::optional<JwtKey> of_public(EVP_PKEY* key, std::string id, std::string& fault);

  JwtAlgorithm algorithm() const { return algorithm_; }
  const std::string& id() const { return id_; }  // `kid`; empty: none
  // The same for the same key, another one for any other.
  const std::string& fingerprint() const { return fingerprint_; }

  // Whether whoever has the key's other half (for a secret: the same) signed this text.
  bool verify(std::string_view text, std::string_view signature) const;

 private:
  JwtKey() = default;

  JwtAlgorithm algorithm_ = JwtAlgorithm::hs256;
  std::string id_;
  std::string fingerprint_;
  std::string secret_;             // of hs256
  std::shared_ptr<EVP_PKEY> key_;  // of the others
};

// Public keys in PEM, one after the other, or a JWK set (or one JWK) in JSON. What is wrong is added
// to `faults`; then there are none.
std::vector<JwtKey> parse_jwt_keys(std::string_view text, std::vector<std::string>& faults);

// An object that is not nested too deep and names nothing twice: two readers could take a name that
// stands twice for two things. (RFC 8725, section 2.4; RFC 7519, section 4)
std::optional<nlohmann::json> parse_json_object(std::string_view text);

// RFC 4648, section 5, without padding; strict.
std::optional<std::string> from_base64url(std::string_view text);
std::string to_base64url(std::string_view bytes);

}  // namespace millrace::server
