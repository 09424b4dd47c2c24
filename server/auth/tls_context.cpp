#include "server/auth/tls_context.hpp"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "server/auth/ticket_keys.hpp"

namespace millrace::server {

namespace ssl = boost::asio::ssl;

namespace {

// Held by a connection only while a record is incomplete.
constexpr std::size_t read_buffer_bytes = 64 * 1024;
// 112 bits: RSA of 2,048 and more, SHA-256 and more, whatever the system's openssl.cnf says.
constexpr int security_level = 2;
constexpr int chain_depth_max = 8;

// The newest error of OpenSSL in its own words.
std::string last_error() {
  const unsigned long error = ERR_peek_last_error();
  ERR_clear_error();
  const char* reason = ERR_reason_error_string(error);
  return reason != nullptr ? reason : "unknown error";
}

// What OpenSSL asks for the pass phrase of a PEM file; without this it would ask the terminal.
struct PassPhrase {
  std::optional<std::string> text;
  bool asked = false;

  static int give(char* into, int room, int, void* user_data) {
    auto& self = *static_cast<PassPhrase*>(user_data);
    self.asked = true;
    if (!self.text || self.text->size() > static_cast<std::size_t>(room)) return -1;
    std::copy(self.text->begin(), self.text->end(), into);
    return static_cast<int>(self.text->size());
  }
};

std::int64_t unix_time(const ASN1_TIME* from) {
  std::tm time{};
  if (ASN1_TIME_to_tm(from, &time) != 1) return 0;
  return static_cast<std::int64_t>(timegm(&time));
}

std::int64_t end_of(const X509* certificate) {
  return unix_time(X509_get0_notAfter(certificate));
}

constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();

std::int64_t end_of(const X509_CRL* list) {
  const ASN1_TIME* next = X509_CRL_get0_nextUpdate(list);
  return next == nullptr ? never : unix_time(next);
}

// A certificate with its key, and the keys of the configuration that name them.
struct Pair {
  const std::string& certificate_file;
  const std::string& key_file;
  std::string certificate_path = "tls.certificate_file";
  std::string key_path = "tls.key_file";
};

// Fills one SSL_CTX step by step; what fails is a fault of its key, and the other steps go on.
class Setup {
 public:
  Setup(SSL_CTX* context, const TlsConfig& config, Pair pair, std::vector<TlsFault>& faults)
      : context_(context), config_(config), pair_(std::move(pair)), faults_(faults) {}

  void set_options();
  void set_server_options(const char* protocol, const std::shared_ptr<TicketKeys>& ticket_keys);
  void verify_server(const UpstreamTlsConfig& upstream);
  void set_ciphers();
  void load_certificate_and_key();
  void ask_for_client_certificates();
  std::int64_t certificate_ends_s() const;
  std::int64_t crl_ends_s() const;

 private:
  void add(std::string key, std::string message) {
    faults_.push_back({std::move(key), std::move(message)});
    ERR_clear_error();
  }
  bool read_pass_phrase(PassPhrase& phrase);
  void load_key(PassPhrase& phrase);
  void load_revocations();

  SSL_CTX* const context_;
  const TlsConfig& config_;
  const Pair pair_;
  std::vector<TlsFault>& faults_;
};

// The protocol's own name where a client offers it (ALPN); others are not held to anything.
int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* chosen_bytes,
                    const unsigned char* offered, unsigned int offered_bytes, void* user_data) {
  const std::string_view name = static_cast<const char*>(user_data);
  std::string_view rest(reinterpret_cast<const char*>(offered), offered_bytes);
  while (!rest.empty()) {
    const std::size_t bytes = static_cast<unsigned char>(rest.front());
    const std::string_view one = rest.substr(1, bytes);
    if (one == name) {
      *chosen = reinterpret_cast<const unsigned char*>(one.data());
      *chosen_bytes = static_cast<unsigned char>(one.size());
      return SSL_TLSEXT_ERR_OK;
    }
    rest.remove_prefix(std::min(rest.size(), 1 + bytes));
  }
  return SSL_TLSEXT_ERR_NOACK;
}

void Setup::set_options() {
  SSL_CTX_set_min_proto_version(
      context_, config_.version_min == TlsVersion::v1_3 ? TLS1_3_VERSION : TLS1_2_VERSION);
  SSL_CTX_set_security_level(context_, security_level);
  SSL_CTX_set_options(context_, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(context_, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                 SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  // Several records with one read of the socket, instead of two reads for each.
  SSL_CTX_set_read_ahead(context_, 1);
  SSL_CTX_set_default_read_buffer_len(context_, read_buffer_bytes);
}

// `protocol`: what clients may name by ALPN.
void Setup::set_server_options(const char* protocol,
                               const std::shared_ptr<TicketKeys>& ticket_keys) {
  SSL_CTX_set_options(context_, SSL_OP_CIPHER_SERVER_PREFERENCE);
  // Sessions are resumed by tickets alone; their keys are the listener's, so a reload ends them.
  SSL_CTX_set_session_cache_mode(context_, SSL_SESS_CACHE_OFF);
  if (!ticket_keys) {
    SSL_CTX_set_options(context_, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(context_, 0);  // TLS 1.3 would give some that only a cache can open
  } else if (!TicketKeys::install(context_, ticket_keys)) {
    add("tls.session_tickets", "cannot be used: " + last_error());
  }
  constexpr unsigned char session_context[] = "millrace";
  SSL_CTX_set_session_id_context(context_, session_context, sizeof session_context - 1);
  SSL_CTX_set_alpn_select_cb(context_, choose_protocol, const_cast<char*>(protocol));
}

// TLS 1.2 with a fresh key for each connection (ECDHE) and authenticated encryption, or not at all.
void Setup::set_ciphers() {
  if (SSL_CTX_set_cipher_list(context_, config_.ciphers.c_str()) != 1) {
    add("tls.ciphers", "is no list of ciphers that OpenSSL knows: \"" + config_.ciphers + "\"");
  }
  if (!config_.cipher_suites.empty() &&
      SSL_CTX_set_ciphersuites(context_, config_.cipher_suites.c_str()) != 1) {
    add("tls.cipher_suites",
        "are no suites of TLS 1.3 that OpenSSL knows: \"" + config_.cipher_suites + "\"");
  }
  const STACK_OF(SSL_CIPHER)* ciphers = SSL_CTX_get_ciphers(context_);
  for (int i = 0; i < sk_SSL_CIPHER_num(ciphers); ++i) {
    const SSL_CIPHER* cipher = sk_SSL_CIPHER_value(ciphers, i);
    const int exchange = SSL_CIPHER_get_kx_nid(cipher);
    if (SSL_CIPHER_is_aead(cipher) == 1 && (exchange == NID_kx_ecdhe || exchange == NID_kx_any)) {
      continue;
    }
    return add("tls.ciphers", std::string("contains ") + SSL_CIPHER_get_name(cipher) +
                                  ", which lacks ECDHE or AEAD");
  }
}

// False: it is named and cannot be read.
bool Setup::read_pass_phrase(PassPhrase& phrase) {
  if (config_.key_password_file.empty()) return true;
  std::ifstream file(config_.key_password_file);
  std::string line;
  if (!std::getline(file, line)) {
    add("tls.key_password_file", "has no first line: " + config_.key_password_file);
    return false;
  }
  if (line.ends_with('\r')) line.pop_back();
  phrase.text = std::move(line);
  return true;
}

void Setup::load_certificate_and_key() {
  PassPhrase phrase;
  SSL_CTX_set_default_passwd_cb(context_, PassPhrase::give);
  SSL_CTX_set_default_passwd_cb_userdata(context_, &phrase);
  const bool has_phrase = read_pass_phrase(phrase);
  if (SSL_CTX_use_certificate_chain_file(context_, pair_.certificate_file.c_str()) != 1) {
    add(pair_.certificate_path, "cannot be used: " + pair_.certificate_file + ": " + last_error());
  } else if (has_phrase) {
    phrase.asked = false;
    load_key(phrase);
  }
  SSL_CTX_set_default_passwd_cb_userdata(context_, nullptr);
}

void Setup::load_key(PassPhrase& phrase) {
  const std::string& file = pair_.key_file;
  const bool loaded = SSL_CTX_use_PrivateKey_file(context_, file.c_str(), SSL_FILETYPE_PEM) == 1;
  if (loaded && SSL_CTX_check_private_key(context_) == 1) return;
  const unsigned long error = ERR_peek_last_error();
  if (loaded ||
      (ERR_GET_LIB(error) == ERR_LIB_X509 && (ERR_GET_REASON(error) == X509_R_KEY_VALUES_MISMATCH ||
                                              ERR_GET_REASON(error) == X509_R_KEY_TYPE_MISMATCH))) {
    return add(pair_.key_path,
               "does not belong to the certificate " + pair_.certificate_file + ": " + file);
  }
  if (phrase.asked && !phrase.text) {
    return add(
        pair_.key_path,
        "is encrypted; tls.key_password_file has to name a file with its pass phrase: " + file);
  }
  if (phrase.asked) {
    return add("tls.key_password_file", "does not open the key " + file + ": " + last_error());
  }
  add(pair_.key_path, "cannot be used: " + file + ": " + last_error());
}

void Setup::ask_for_client_certificates() {
  if (config_.client_certificate == ClientCertificate::none) return;
  const bool required = config_.client_certificate == ClientCertificate::required;
  SSL_CTX_set_verify(context_, SSL_VERIFY_PEER | (required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                     nullptr);
  SSL_CTX_set_verify_depth(context_, chain_depth_max);
  const char* file = config_.client_ca_file.c_str();
  STACK_OF(X509_NAME)* names = SSL_load_client_CA_file(file);
  if (names == nullptr || SSL_CTX_load_verify_locations(context_, file, nullptr) != 1) {
    sk_X509_NAME_pop_free(names, X509_NAME_free);
    return add("tls.client_ca_file",
               "cannot be used: " + config_.client_ca_file + ": " + last_error());
  }
  SSL_CTX_set_client_CA_list(context_, names);
  if (!config_.crl_file.empty()) load_revocations();
}

void Setup::verify_server(const UpstreamTlsConfig& upstream) {
  if (upstream.verify == TlsVerify::insecure) {
    return SSL_CTX_set_verify(context_, SSL_VERIFY_NONE, nullptr);
  }
  SSL_CTX_set_verify(context_, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_verify_depth(context_, chain_depth_max);
  if (upstream.ca_file.empty()) {
    if (SSL_CTX_set_default_verify_paths(context_) != 1) {
      add("tls.ca_file", "is needed: the system's certificates cannot be used: " + last_error());
    }
  } else if (SSL_CTX_load_verify_locations(context_, upstream.ca_file.c_str(), nullptr) != 1) {
    add("tls.ca_file", "cannot be used: " + upstream.ca_file + ": " + last_error());
  }
}

void Setup::load_revocations() {
  X509_STORE* store = SSL_CTX_get_cert_store(context_);
  X509_LOOKUP* lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
  if (lookup == nullptr ||
      X509_load_crl_file(lookup, config_.crl_file.c_str(), X509_FILETYPE_PEM) < 1) {
    return add("tls.crl_file", "cannot be used: " + config_.crl_file + ": " + last_error());
  }
  X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
}

std::int64_t Setup::certificate_ends_s() const {
  const X509* leaf = SSL_CTX_get0_certificate(context_);
  if (leaf == nullptr) return 0;
  std::int64_t first = end_of(leaf);
  STACK_OF(X509)* chain = nullptr;
  SSL_CTX_get0_chain_certs(context_, &chain);
  for (int i = 0; i < sk_X509_num(chain); ++i)
    first = std::min(first, end_of(sk_X509_value(chain, i)));
  return first;
}

// Of several lists of one authority the newest counts.
std::int64_t Setup::crl_ends_s() const {
  std::vector<const X509_CRL*> lists;
  const STACK_OF(X509_OBJECT)* all = X509_STORE_get0_objects(SSL_CTX_get_cert_store(context_));
  for (int i = 0; i < sk_X509_OBJECT_num(all); ++i) {
    const X509_CRL* list = X509_OBJECT_get0_X509_CRL(sk_X509_OBJECT_value(all, i));
    if (list != nullptr) lists.push_back(list);
  }
  std::int64_t first = never;
  for (const X509_CRL* list : lists) {
    std::int64_t newest = 0;
    for (const X509_CRL* other : lists) {
      if (X509_NAME_cmp(X509_CRL_get_issuer(list), X509_CRL_get_issuer(other)) == 0) {
        newest = std::max(newest, end_of(other));
      }
    }
    first = std::min(first, newest);
  }
  return first == never ? 0 : first;
}

// --- Several certificates ------------------------------------------------------------------------

// Those that a listener has besides its first, as the first context's own data.
using Contexts = std::vector<std::shared_ptr<ssl::context>>;

void free_contexts(void*, void* contexts, CRYPTO_EX_DATA*, int, long, void*) {
  delete static_cast<Contexts*>(contexts);
}

int index_of_contexts() {
  static const int index = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, free_contexts);
  return index;
}

bool is_for(SSL_CTX* context, std::string_view name) {
  return X509_check_host(SSL_CTX_get0_certificate(context), name.data(), name.size(), 0, nullptr) ==
         1;
}

// The client says for which name it asks (SNI; RFC 6066, section 3).
int choose_certificate(SSL* ssl, int*, void*) {
  const char* asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  SSL_CTX* first = SSL_get_SSL_CTX(ssl);
  if (asked == nullptr || is_for(first, asked)) return SSL_TLSEXT_ERR_OK;
  const auto* others = static_cast<Contexts*>(SSL_CTX_get_ex_data(first, index_of_contexts()));
  if (others == nullptr) return SSL_TLSEXT_ERR_NOACK;
  for (const auto& other : *others) {
    if (!is_for(other->native_handle(), asked)) continue;
    SSL_set_SSL_CTX(ssl, other->native_handle());
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_NOACK;  // the first, which the client may know by another name
}

bool choose_by_name(SSL_CTX* first, Contexts others) {
  auto kept = std::make_unique<Contexts>(std::move(others));
  if (SSL_CTX_set_ex_data(first, index_of_contexts(), kept.get()) != 1) return false;
  kept.release();  // the context's now
  return SSL_CTX_set_tlsext_servername_callback(first, choose_certificate) == 1;
}

struct Made {
  std::shared_ptr<ssl::context> context;
  std::int64_t ends_s = 0;
  std::int64_t crl_ends_s = 0;
};

Made make_context(const ListenerConfig& listener, Pair pair,
                  const std::shared_ptr<TicketKeys>& ticket_keys, std::vector<TlsFault>& faults) {
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  Setup setup(context->native_handle(), listener.tls, std::move(pair), faults);
  setup.set_options();
  setup.set_server_options(listener.uses_websocket() ? "http/1.1" : "mqtt", ticket_keys);
  setup.set_ciphers();
  setup.load_certificate_and_key();
  setup.ask_for_client_certificates();
  return {std::move(context), setup.certificate_ends_s(), setup.crl_ends_s()};
}

}  // namespace

TlsSetup make_tls_setup(const ListenerConfig& listener, std::vector<TlsFault>& faults) {
  if (!listener.uses_tls()) return {};
  const std::size_t before = faults.size();
  const TlsConfig& tls = listener.tls;
  // Whoever resumes a session shows no certificate: one that was revoked meanwhile would come in.
  const bool tickets = tls.session_tickets && tls.client_certificate == ClientCertificate::none;
  const auto ticket_keys =
      tickets ? std::make_shared<TicketKeys>(TicketKeys::Clock::now()) : nullptr;
  Made first = make_context(listener, {tls.certificate_file, tls.key_file}, ticket_keys, faults);
  // What is wrong with the common settings was said once.
  Contexts others;
  // Without a key for each, the configuration has a fault that was found before.
  const std::size_t pairs = std::min(tls.more_certificate_files.size(), tls.more_key_files.size());
  for (std::size_t i = 0; i < pairs && faults.size() == before; ++i) {
    const std::string index = "[" + std::to_string(i) + "]";
    Made made = make_context(listener,
                             {tls.more_certificate_files[i], tls.more_key_files.at(i),
                              "tls.more_certificate_files" + index, "tls.more_key_files" + index},
                             ticket_keys, faults);
    first.ends_s = std::min(first.ends_s, made.ends_s);
    others.push_back(std::move(made.context));
  }
  if (faults.size() > before) return {};
  if (!others.empty() && !choose_by_name(first.context->native_handle(), std::move(others))) {
    faults.push_back({"tls.more_certificate_files", "cannot be used: " + last_error()});
    return {};
  }
  return {std::move(first.context), first.ends_s, first.crl_ends_s};
}

TlsSetup make_client_tls_setup(const UpstreamTlsConfig& upstream, std::vector<TlsFault>& faults) {
  const std::size_t before = faults.size();
  auto context = std::make_shared<ssl::context>(ssl::context::tls_client);
  TlsConfig config;
  config.key_password_file = upstream.key_password_file;
  Setup setup(context->native_handle(), config, {upstream.certificate_file, upstream.key_file},
              faults);
  setup.set_options();
  setup.set_ciphers();
  setup.verify_server(upstream);
  if (!upstream.certificate_file.empty()) setup.load_certificate_and_key();
  if (faults.size() > before) return {};
  return {std::move(context), setup.certificate_ends_s()};
}

bool expect_server(SSL* ssl, const std::string& name, bool must_match) {
  X509_VERIFY_PARAM* const rules = SSL_get0_param(ssl);
  if (is_address(name)) {
    return !must_match || X509_VERIFY_PARAM_set1_ip_asc(rules, name.c_str()) == 1;
  }
  if (SSL_set_tlsext_host_name(ssl, name.c_str()) != 1) return false;
  if (!must_match) return true;
  X509_VERIFY_PARAM_set_hostflags(rules, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  return !name.empty() && X509_VERIFY_PARAM_set1_host(rules, name.data(), name.size()) == 1;
}

}  // namespace millrace::server
