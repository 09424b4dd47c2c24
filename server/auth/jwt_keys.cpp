#include "server/auth/jwt_keys.hpp"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "server/auth/crypto.hpp"

namespace millrace::server {

namespace {

using Json = nlohmann::json;
using KeyRef = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

constexpr int rsa_bits_min = 2048;
constexpr std::size_t coordinate_bytes = 32;  // of P-256
constexpr std::size_t keys_max = 256;
constexpr int depth_max = 8;

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

// Of a key that must be public: what identifies it, in DER.
std::string der_of(EVP_PKEY* key) {
  unsigned char* der = nullptr;
  const int count = i2d_PUBKEY(key, &der);
  if (count <= 0) return "";
  std::string bytes(reinterpret_cast<char*>(der), static_cast<std::size_t>(count));
  OPENSSL_free(der);
  return bytes;
}

bool is_p256(EVP_PKEY* key) {
  std::array<char, 64> name{};
  std::size_t count = 0;
  return EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, name.data(), name.size(),
                                        &count) == 1 &&
         std::string_view(name.data(), count) == "prime256v1";
}

// RFC 7518, section 3.4: two numbers of 32 bytes, where OpenSSL wants a sequence in DER.
std::string der_signature(std::string_view raw) {
  if (raw.size() != 2 * coordinate_bytes) return "";
  const std::unique_ptr<ECDSA_SIG, decltype(&ECDSA_SIG_free)> signature(ECDSA_SIG_new(),
                                                                        ECDSA_SIG_free);
  BIGNUM* r = BN_bin2bn(bytes_of(raw), coordinate_bytes, nullptr);
  BIGNUM* s = BN_bin2bn(bytes_of(raw) + coordinate_bytes, coordinate_bytes, nullptr);
  if (!signature || r == nullptr || s == nullptr || ECDSA_SIG_set0(signature.get(), r, s) != 1) {
    BN_free(r);
    BN_free(s);
    return "";
  }
  unsigned char* der = nullptr;
  const int count = i2d_ECDSA_SIG(signature.get(), &der);
  if (count <= 0) return "";
  std::string bytes(reinterpret_cast<char*>(der), static_cast<std::size_t>(count));
  OPENSSL_free(der);
  return bytes;
}

// --- JWK -----------------------------------------------------------------------------------------

// A member that is text; empty: there is none, or it is none.
std::string text_member(const Json& jwk, const char* name) {
  const auto found = jwk.find(name);
  return found != jwk.end() && found->is_string() ? found->get<std::string>() : "";
}

std::string bytes_member(const Json& jwk, const char* name) {
  return from_base64url(text_member(jwk, name)).value_or("");
}

KeyRef from_parameters(const char* type, OSSL_PARAM_BLD* builder) {
  EVP_PKEY* key = nullptr;
  const std::unique_ptr<OSSL_PARAM, decltype(&OSSL_PARAM_free)> parameters(
      OSSL_PARAM_BLD_to_param(builder), OSSL_PARAM_free);
  const std::unique_ptr<EVP_PKEY_CTX, decltype(&EVP_PKEY_CTX_free)> context(
      EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr), EVP_PKEY_CTX_free);
  if (!parameters || !context || EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, parameters.get()) != 1) {
    return {nullptr, EVP_PKEY_free};
  }
  return {key, EVP_PKEY_free};
}

KeyRef rsa_key(const Json& jwk) {
  const std::string n = bytes_member(jwk, "n"), e = bytes_member(jwk, "e");
  const std::unique_ptr<BIGNUM, decltype(&BN_free)> modulus(
      BN_bin2bn(bytes_of(n), static_cast<int>(n.size()), nullptr), BN_free);
  const std::unique_ptr<BIGNUM, decltype(&BN_free)> exponent(
      BN_bin2bn(bytes_of(e), static_cast<int>(e.size()), nullptr), BN_free);
  const std::unique_ptr<OSSL_PARAM_BLD, decltype(&OSSL_PARAM_BLD_free)> builder(
      OSSL_PARAM_BLD_new(), OSSL_PARAM_BLD_free);
  if (n.empty() || e.empty() || !modulus || !exponent || !builder ||
      OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, modulus.get()) != 1 ||
      OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, exponent.get()) != 1) {
    return {nullptr, EVP_PKEY_free};
  }
  return from_parameters("RSA", builder.get());
}

KeyRef ec_key(const Json& jwk) {
  const std::string x = bytes_member(jwk, "x"), y = bytes_member(jwk, "y");
  const std::unique_ptr<OSSL_PARAM_BLD, decltype(&OSSL_PARAM_BLD_free)> builder(
      OSSL_PARAM_BLD_new(), OSSL_PARAM_BLD_free);
  const std::string point = "\x04" + x + y;  // uncompressed
  if (text_member(jwk, "crv") != "P-256" || x.size() != coordinate_bytes ||
      y.size() != coordinate_bytes || !builder ||
      OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) !=
          1 ||
      OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(),
                                       point.size()) != 1) {
    return {nullptr, EVP_PKEY_free};
  }
  return from_parameters("EC", builder.get());
}

KeyRef ed25519_key(const Json& jwk) {
  const std::string x = bytes_member(jwk, "x");
  if (text_member(jwk, "crv") != "Ed25519") return {nullptr, EVP_PKEY_free};
  return {EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, bytes_of(x), x.size()),
          EVP_PKEY_free};
}

std::optional<JwtKey> key_of_jwk(const Json& jwk, std::string& fault) {
  if (!jwk.is_object()) {
    fault = "is no JSON object";
    return std::nullopt;
  }
  const std::string kind = text_member(jwk, "kty"), id = text_member(jwk, "kid");
  std::optional<JwtKey> made;
  if (kind == "oct") {
    std::string secret = bytes_member(jwk, "k");
    if (secret.size() < JwtKey::secret_bytes_min) {
      fault = "has a secret of less than 32 bytes";
      return std::nullopt;
    }
    made = JwtKey::of_secret(std::move(secret), id);
  } else {
    KeyRef key(nullptr, EVP_PKEY_free);
    if (kind == "RSA") key = rsa_key(jwk);
    if (kind == "EC") key = ec_key(jwk);
    if (kind == "OKP") key = ed25519_key(jwk);
    ERR_clear_error();
    fault = "is no key of RSA, P-256 or Ed25519, and no secret";
    if (!key) return std::nullopt;
    made = JwtKey::of_public(key.get(), id, fault);
  }
  const std::string algorithm = text_member(jwk, "alg");
  if (made && !algorithm.empty() && algorithm != to_string(made->algorithm())) {
    fault = "says the algorithm " + algorithm + ", but its kind is for " +
            std::string(to_string(made->algorithm()));
    return std::nullopt;
  }
  return made;
}

void parse_jwks(std::string_view text, std::vector<JwtKey>& keys,
                std::vector<std::string>& faults) {
  auto parsed = parse_json_object(text);
  if (!parsed) {
    faults.emplace_back("is no JSON object, names something twice, or is nested too deep");
    return;
  }
  const auto set = parsed->find("keys");
  const Json list = set == parsed->end() ? Json::array({*parsed}) : std::move(*set);
  if (!list.is_array()) {
    faults.emplace_back("`keys` is no list");
    return;
  }
  for (std::size_t i = 0; i < list.size() && i <= keys_max; ++i) {
    if (list[i].is_object() && text_member(list[i], "use") == "enc") continue;
    std::string fault;
    auto key = key_of_jwk(list[i], fault);
    if (key) {
      keys.push_back(std::move(*key));
    } else {
      faults.push_back("key " + std::to_string(i + 1) + " " + fault);
    }
  }
}

// One block of a PEM file.
std::optional<JwtKey> key_of_pem(std::string_view name, std::string_view der, std::string& fault) {
  if (name != PEM_STRING_PUBLIC) {
    fault = "is a " + std::string(name) + "; only public keys are read (PUBLIC KEY)";
    return std::nullopt;
  }
  const unsigned char* at = bytes_of(der);
  const KeyRef key(d2i_PUBKEY(nullptr, &at, static_cast<long>(der.size())), EVP_PKEY_free);
  if (key) return JwtKey::of_public(key.get(), "", fault);
  fault = "is no public key";
  return std::nullopt;
}

void parse_pem(std::string_view text, std::vector<JwtKey>& keys, std::vector<std::string>& faults) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> in(
      BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), BIO_free);
  ERR_clear_error();
  char *name = nullptr, *header = nullptr;
  unsigned char* data = nullptr;
  long count = 0;
  for (int number = 1; in && PEM_read_bio(in.get(), &name, &header, &data, &count) == 1; ++number) {
    std::string fault;
    auto made =
        key_of_pem(name, {reinterpret_cast<char*>(data), static_cast<std::size_t>(count)}, fault);
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_clear_free(data, static_cast<std::size_t>(count));
    if (made) {
      keys.push_back(std::move(*made));
    } else {
      faults.push_back("key " + std::to_string(number) + " " + fault);
    }
  }
  // It stops at the end, and at what cannot be read.
  const unsigned long error = ERR_peek_last_error();
  const bool at_end =
      ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
  if (!at_end) faults.emplace_back("holds what is no PEM");
  ERR_clear_error();
}

}  // namespace

std::string_view to_string(JwtAlgorithm algorithm) {
  switch (algorithm) {
    case JwtAlgorithm::hs256:
      return "HS256";
    case JwtAlgorithm::rs256:
      return "RS256";
    case JwtAlgorithm::es256:
      return "ES256";
    case JwtAlgorithm::eddsa:
      return "EdDSA";
  }
  return "unknown";
}

std::optional<nlohmann::json> parse_json_object(std::string_view text) {
  bool unfit = false;
  std::vector<std::set<std::string>> open;
  Json parsed = Json::parse(
      text,
      [&](int depth, Json::parse_event_t event, Json& value) {
        if (depth > depth_max) unfit = true;
        if (event == Json::parse_event_t::object_start) open.emplace_back();
        if (event == Json::parse_event_t::object_end && !open.empty()) open.pop_back();
        if (event == Json::parse_event_t::key && !open.empty() &&
            !open.back().insert(value.get<std::string>()).second) {
          unfit = true;
        }
        return !unfit;
      },
      false);
  if (unfit || !parsed.is_object()) return std::nullopt;
  return parsed;
}

std::optional<std::string> from_base64url(std::string_view text) {
  if (text.find_first_of("+/=") != std::string_view::npos) return std::nullopt;
  std::string padded(text);
  std::replace(padded.begin(), padded.end(), '-', '+');
  std::replace(padded.begin(), padded.end(), '_', '/');
  padded.append((4 - padded.size() % 4) % 4, '=');
  auto bytes = from_base64(padded);
  // Bits behind the last byte would let one token be written in several ways.
  if (bytes && to_base64url(*bytes) != text) return std::nullopt;
  return bytes;
}

std::string to_base64url(std::string_view bytes) {
  std::string text = to_base64(bytes);
  while (text.ends_with('=')) text.pop_back();
  std::replace(text.begin(), text.end(), '+', '-');
  std::replace(text.begin(), text.end(), '/', '_');
  return text;
}

JwtKey JwtKey::of_secret(std::string secret, std::string id) {
  JwtKey key;
  key.id_ = std::move(id);
  key.fingerprint_ = to_base64url(digest(Digest::sha256, "HS256 " + secret));
  key.secret_ = std::move(secret);
  return key;
}

std::optional<JwtKey> JwtKey::of_public(EVP_PKEY* key, std::string id, std::string& fault) {
  JwtKey made;
  if (EVP_PKEY_is_a(key, "RSA") == 1) {
    made.algorithm_ = JwtAlgorithm::rs256;
    if (EVP_PKEY_get_bits(key) < rsa_bits_min) {
      fault = "is RSA of less than 2,048 bits";
      return std::nullopt;
    }
  } else if (EVP_PKEY_is_a(key, "EC") == 1 && is_p256(key)) {
    made.algorithm_ = JwtAlgorithm::es256;
  } else if (EVP_PKEY_is_a(key, "ED25519") == 1) {
    made.algorithm_ = JwtAlgorithm::eddsa;
  } else {
    fault = "is no key of RSA, P-256 or Ed25519";
    return std::nullopt;
  }
  made.id_ = std::move(id);
  made.fingerprint_ = to_base64url(digest(Digest::sha256, der_of(key)));
  EVP_PKEY_up_ref(key);
  made.key_ = {key, EVP_PKEY_free};
  return made;
}

bool JwtKey::verify(std::string_view text, std::string_view signature) const {
  if (algorithm_ == JwtAlgorithm::hs256) {
    return equal_secrets(hmac(Digest::sha256, secret_, text), signature);
  }
  const std::string der = algorithm_ == JwtAlgorithm::es256 ? der_signature(signature) : "";
  if (algorithm_ == JwtAlgorithm::es256) signature = der;
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        EVP_MD_CTX_free);
  const EVP_MD* hash = algorithm_ == JwtAlgorithm::eddsa ? nullptr : EVP_sha256();
  const bool valid = !signature.empty() && context &&
                     EVP_DigestVerifyInit(context.get(), nullptr, hash, nullptr, key_.get()) == 1 &&
                     EVP_DigestVerify(context.get(), bytes_of(signature), signature.size(),
                                      bytes_of(text), text.size()) == 1;
  ERR_clear_error();
  return valid;
}

std::vector<JwtKey> parse_jwt_keys(std::string_view text, std::vector<std::string>& faults) {
  const std::size_t before = faults.size();
  std::vector<JwtKey> keys;
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && text[first] == '{') {
    parse_jwks(text, keys, faults);
  } else {
    parse_pem(text, keys, faults);
  }
  if (keys.empty() && faults.size() == before) faults.emplace_back("holds no key");
  if (keys.size() > keys_max) faults.emplace_back("holds more than 256 keys");
  if (faults.size() > before) keys.clear();
  return keys;
}

}  // namespace millrace::server
