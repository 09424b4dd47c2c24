#include "server/auth/ticket_keys.hpp"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "server/auth/crypto.hpp"

namespace millrace::server {

namespace {

TicketKey new_key() {
  TicketKey key;
  for (auto bytes : {std::span<std::uint8_t>(key.name), std::span<std::uint8_t>(key.cipher),
                     std::span<std::uint8_t>(key.mac)}) {
    const std::string random = random_bytes(bytes.size());
    std::copy(random.begin(), random.end(), bytes.begin());
  }
  return key;
}

void forget(TicketKey& key) {
  OPENSSL_cleanse(&key, sizeof key);
}

void free_keys(void*, void* keys, CRYPTO_EX_DATA*, int, long, void*) {
  delete static_cast<std::shared_ptr<TicketKeys>*>(keys);
}

int index_of_keys() {
  static const int index = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, free_keys);
  return index;
}

bool set_mac(EVP_MAC_CTX* mac, TicketKey& key) {
  std::string digest = "SHA256";
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.mac.data(), key.mac.size()),
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest.data(), 0),
      OSSL_PARAM_construct_end()};
  return EVP_MAC_CTX_set_params(mac, parameters) == 1;
}

// As SSL_CTX_set_tlsext_ticket_key_evp_cb(3) has it: negative: an error; 0: no such key, so a whole
// handshake; 1: go on; 2: go on, and give the client a new ticket.
int set_ticket_key(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
                   EVP_MAC_CTX* mac, int seals) try {
  const auto* installed = static_cast<std::shared_ptr<TicketKeys>*>(
      SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), index_of_keys()));
  if (installed == nullptr) return 0;
  TicketKeys& keys = **installed;
  const auto now = TicketKeys::Clock::now();
  constexpr std::size_t iv_bytes = 16;
  if (seals == 1) {
    TicketKey key = keys.sealing(now);
    const std::string random = random_bytes(iv_bytes);
    std::copy(random.begin(), random.end(), iv);
    std::copy(key.name.begin(), key.name.end(), name);
    const bool done =
        EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), nullptr, key.cipher.data(), iv) == 1 &&
        set_mac(mac, key);
    forget(key);
    return done ? 1 : -1;
  }
  auto found = keys.opening(name, now);
  if (!found) return 0;
  const bool done =
      set_mac(mac, found->key) &&
      EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), nullptr, found->key.cipher.data(), iv) == 1;
  forget(found->key);
  if (!done) return -1;
  return found->is_current ? 1 : 2;
} catch (const std::exception&) {  // there were no random bytes; OpenSSL knows no exceptions
  return -1;
}

}  // namespace

TicketKeys::TicketKeys(Clock::time_point now)
    : current_(new_key()), before_(new_key()), since_(now) {}

TicketKeys::~TicketKeys() {
  forget(current_);
  forget(before_);
}

void TicketKeys::rotate(Clock::time_point now) {
  if (now - since_ < seals_for) return;
  // After two hours without a handshake neither may open anything.
  before_ = now - since_ < 2 * seals_for ? current_ : new_key();
  current_ = new_key();
  since_ = now;
}

TicketKey TicketKeys::sealing(Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  rotate(now);
  return current_;
}

std::optional<TicketKeys::Found> TicketKeys::opening(const std::uint8_t* name,
                                                     Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  rotate(now);
  const auto is_of = [&](const TicketKey& key) {
    return std::equal(key.name.begin(), key.name.end(), name);
  };
  if (is_of(current_)) return Found{current_, true};
  if (is_of(before_)) return Found{before_, false};
  return std::nullopt;
}

bool TicketKeys::install(SSL_CTX* context, std::shared_ptr<TicketKeys> keys) {
  auto kept = std::make_unique<std::shared_ptr<TicketKeys>>(std::move(keys));
  if (SSL_CTX_set_ex_data(context, index_of_keys(), kept.get()) != 1) return false;
  kept.release();  // the context's now
  return SSL_CTX_set_tlsext_ticket_key_evp_cb(context, set_ticket_key) == 1;
}

}  // namespace millrace::server
