// Keys made for a test, and tokens signed with them.
#pragma once

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <cstring>
#include <memory>
#include <string>

#include "server/auth/crypto.hpp"
#include "server/auth/jwt_keys.hpp"

namespace millrace::test {

using KeyRef = std::shared_ptr<EVP_PKEY>;

inline KeyRef make_rsa(unsigned bits = 2048) {
  return {EVP_RSA_gen(bits), EVP_PKEY_free};
}
inline KeyRef make_ec(const char* curve = "P-256") {
  return {EVP_EC_gen(curve), EVP_PKEY_free};
}
inline KeyRef make_ed25519() {
  return {EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), EVP_PKEY_free};
}

inline std::string public_pem(const KeyRef& key) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> out(BIO_new(BIO_s_mem()), BIO_free);
  PEM_write_bio_PUBKEY(out.get(), key.get());
  char* text = nullptr;
  const long count = BIO_get_mem_data(out.get(), &text);
  return {text, static_cast<std::size_t>(count)};
}

// As a token has it: r and s side by side for ECDSA.
inline std::string sign(const KeyRef& key, const std::string& text) {
  const bool is_ed25519 = EVP_PKEY_is_a(key.get(), "ED25519") == 1;
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        EVP_MD_CTX_free);
  EVP_DigestSignInit(context.get(), nullptr, is_ed25519 ? nullptr : EVP_sha256(), nullptr,
                     key.get());
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  std::size_t count = 0;
  EVP_DigestSign(context.get(), nullptr, &count, bytes, text.size());
  std::string signature(count, '\0');
  EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &count, bytes,
                 text.size());
  signature.resize(count);
  if (EVP_PKEY_is_a(key.get(), "EC") != 1) return signature;
  const auto* der = reinterpret_cast<const unsigned char*>(signature.data());
  const std::unique_ptr<ECDSA_SIG, decltype(&ECDSA_SIG_free)> pair(
      d2i_ECDSA_SIG(nullptr, &der, static_cast<long>(signature.size())), ECDSA_SIG_free);
  std::string raw(64, '\0');
  auto* into = reinterpret_cast<unsigned char*>(raw.data());
  BN_bn2binpad(ECDSA_SIG_get0_r(pair.get()), into, 32);
  BN_bn2binpad(ECDSA_SIG_get0_s(pair.get()), into + 32, 32);
  return raw;
}

inline std::string unsigned_token(const std::string& header, const std::string& claims) {
  return server::to_base64url(header) + "." + server::to_base64url(claims);
}
inline std::string token(const KeyRef& key, const std::string& header, const std::string& claims) {
  const std::string text = unsigned_token(header, claims);
  return text + "." + server::to_base64url(sign(key, text));
}
inline std::string token_by_secret(const std::string& secret, const std::string& header,
                                   const std::string& claims) {
  const std::string text = unsigned_token(header, claims);
  return text + "." + server::to_base64url(server::hmac(server::Digest::sha256, secret, text));
}

}  // namespace millrace::test
