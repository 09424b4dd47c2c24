#include "server/auth/crypto.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <new>
#include <stdexcept>

namespace millrace::server {

namespace {

const EVP_MD* algorithm(Digest digest) {
  switch (digest) {
    case Digest::sha1:
      return EVP_sha1();
    case Digest::sha256:
      return EVP_sha256();
    case Digest::sha512:
      return EVP_sha512();
  }
  return nullptr;
}

std::string room_for(Digest digest) {
  return std::string(static_cast<std::size_t>(EVP_MD_get_size(algorithm(digest))), '\0');
}

unsigned char* writable(std::string& text) {
  return reinterpret_cast<unsigned char*>(text.data());
}

const unsigned char* readable(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

}  // namespace

std::string random_bytes(std::size_t count) {
  std::string bytes(count, '\0');
  if (RAND_bytes(writable(bytes), static_cast<int>(count)) != 1) {
    throw std::runtime_error("the system gave no random numbers");
  }
  return bytes;
}

std::string digest(Digest digest, std::string_view text) {
  std::string hash = room_for(digest);
  if (EVP_Digest(text.data(), text.size(), writable(hash), nullptr, algorithm(digest), nullptr) !=
      1) {
    throw std::bad_alloc();
  }
  return hash;
}

std::string hmac(Digest digest, std::string_view key, std::string_view text) {
  std::string code = room_for(digest);
  if (HMAC(algorithm(digest), key.data(), static_cast<int>(key.size()), readable(text), text.size(),
           writable(code), nullptr) == nullptr) {
    throw std::bad_alloc();
  }
  return code;
}

std::string derive_key(Digest digest, std::string_view password, std::string_view salt,
                       std::uint32_t iterations) {
  std::string key = room_for(digest);
  if (PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()), readable(salt),
                        static_cast<int>(salt.size()), static_cast<int>(iterations),
                        algorithm(digest), static_cast<int>(key.size()), writable(key)) != 1) {
    throw std::bad_alloc();
  }
  return key;
}

bool equal_secrets(std::string_view left, std::string_view right) {
  return left.size() == right.size() && CRYPTO_memcmp(left.data(), right.data(), left.size()) == 0;
}

std::string to_base64(std::string_view bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int length =
      EVP_EncodeBlock(writable(text), readable(bytes), static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(length));
  return text;
}

std::optional<std::string> from_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  // OpenSSL takes padding anywhere, and white space around the text.
  if (text.substr(0, text.size() - padding).find('=') != std::string_view::npos) {
    return std::nullopt;
  }
  std::string bytes(text.size() / 4 * 3, '\0');
  const int length =
      EVP_DecodeBlock(writable(bytes), readable(text), static_cast<int>(text.size()));
  if (length != static_cast<int>(bytes.size())) return std::nullopt;
  bytes.resize(bytes.size() - padding);  // the padding was decoded as zeros
  return bytes;
}

}  // namespace millrace::server
