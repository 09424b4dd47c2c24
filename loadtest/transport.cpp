#include "loadtest/transport.hpp"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace millrace::loadtest {
namespace {

thread_local std::string last_error;

std::string openssl_error() {
  const unsigned long code = ERR_get_error();
  if (code == 0) return "TLS: the peer closed";
  char text[256];
  ERR_error_string_n(code, text, sizeof text);
  ERR_clear_error();
  return text;
}

IoResult from_errno() {
  if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return {IoStatus::blocked};
  set_transport_error(std::strerror(errno));
  return {IoStatus::failed};
}

class Tcp final : public Transport {
 public:
  explicit Tcp(int fd) : fd_(fd) {}

  IoStatus handshake() override { return IoStatus::done; }

  IoResult read(char* out, std::size_t out_bytes_max) override {
    const ssize_t n = ::recv(fd_, out, out_bytes_max, 0);
    if (n > 0) return {IoStatus::done, static_cast<std::size_t>(n)};
    if (n == 0) return {IoStatus::finished};
    return from_errno();
  }

  IoResult write(const iovec* pieces, int count) override {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(pieces);
    message.msg_iovlen = static_cast<std::size_t>(count);
    const ssize_t n = ::sendmsg(fd_, &message, MSG_NOSIGNAL);
    if (n >= 0) return {IoStatus::done, static_cast<std::size_t>(n)};
    return from_errno();
  }

 private:
  const int fd_;
};

struct SslDeleter {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};

class Tls final : public Transport {
 public:
  Tls(int fd, SSL_CTX* context, const TlsSettings& settings) : ssl_(SSL_new(context)) {
    if (!ssl_ || SSL_set_fd(ssl_.get(), fd) != 1) throw std::runtime_error(openssl_error());
    SSL_set_connect_state(ssl_.get());
    in_addr_storage address{};
    const char* const name = settings.server_name.c_str();
    const bool is_address =
        inet_pton(AF_INET, name, &address) == 1 || inet_pton(AF_INET6, name, &address) == 1;
    if (!is_address) SSL_set_tlsext_host_name(ssl_.get(), name);
    if (!settings.insecure) {
      X509_VERIFY_PARAM* const param = SSL_get0_param(ssl_.get());
      if (is_address) {
        X509_VERIFY_PARAM_set1_ip_asc(param, name);
      } else {
        X509_VERIFY_PARAM_set1_host(param, name, 0);
      }
    }
  }

  IoStatus handshake() override {
    ERR_clear_error();
    const int result = SSL_do_handshake(ssl_.get());
    return result == 1 ? IoStatus::done : outcome(result).status;
  }

  IoResult read(char* out, std::size_t out_bytes_max) override {
    // As many records as fit: records that OpenSSL has buffered do not make the socket readable.
    std::size_t total = 0;
    while (total < out_bytes_max) {
      ERR_clear_error();
      std::size_t n = 0;
      const int result = SSL_read_ex(ssl_.get(), out + total, out_bytes_max - total, &n);
      if (result != 1) return total > 0 ? IoResult{IoStatus::done, total} : outcome(result);
      total += n;
    }
    return {IoStatus::done, total};
  }

  IoResult write(const iovec* pieces, int count) override {
    std::size_t total = 0;
    for (int i = 0; i < count; ++i) {
      const char* p = static_cast<const char*>(pieces[i].iov_base);
      std::size_t left = pieces[i].iov_len;
      while (left > 0) {
        ERR_clear_error();
        std::size_t n = 0;
        const int result = SSL_write_ex(ssl_.get(), p, left, &n);
        if (result != 1) {
          const IoResult why = outcome(result);
          return total > 0 && why.status == IoStatus::blocked ? IoResult{IoStatus::done, total}
                                                              : why;
        }
        p += n;
        left -= n;
        total += n;
      }
    }
    return {IoStatus::done, total};
  }

  bool may_hold_input() const override { return SSL_has_pending(ssl_.get()) == 1; }
  bool wants_write() const override { return wants_write_; }

 private:
  union in_addr_storage {
    in_addr v4;
    in6_addr v6;
  };

  IoResult outcome(int result) {
    const int why = SSL_get_error(ssl_.get(), result);
    wants_write_ = why == SSL_ERROR_WANT_WRITE;
    if (wants_write_ || why == SSL_ERROR_WANT_READ) return {IoStatus::blocked};
    if (why == SSL_ERROR_ZERO_RETURN) return {IoStatus::finished};
    const long verified = SSL_get_verify_result(ssl_.get());
    set_transport_error(verified != X509_V_OK && SSL_get_verify_mode(ssl_.get()) != SSL_VERIFY_NONE
                            ? X509_verify_cert_error_string(verified)
                            : openssl_error());
    return {IoStatus::failed};
  }

  std::unique_ptr<SSL, SslDeleter> ssl_;
  bool wants_write_ = false;
};

void require(bool ok, const std::string& what) {
  if (!ok) throw std::runtime_error(what + ": " + openssl_error());
}

}  // namespace

void TlsContextDeleter::operator()(ssl_ctx_st* context) const {
  SSL_CTX_free(context);
}

TlsContext make_tls_context(const TlsSettings& settings) {
  TlsContext context(SSL_CTX_new(TLS_client_method()));
  require(context != nullptr, "TLS");
  SSL_CTX* const c = context.get();
  SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
  SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                          SSL_MODE_RELEASE_BUFFERS);
  // Read several records with one read() of the socket.
  SSL_CTX_set_read_ahead(c, 1);
  SSL_CTX_set_default_read_buffer_len(c, 64 * 1024);
  SSL_CTX_set_verify(c, settings.insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, nullptr);
  if (!settings.ca_file.empty()) {
    require(SSL_CTX_load_verify_locations(c, settings.ca_file.c_str(), nullptr) == 1,
            settings.ca_file);
  } else {
    SSL_CTX_set_default_verify_paths(c);
  }
  if (!settings.certificate_file.empty()) {
    require(SSL_CTX_use_certificate_chain_file(c, settings.certificate_file.c_str()) == 1,
            settings.certificate_file);
    require(SSL_CTX_use_PrivateKey_file(c, settings.key_file.c_str(), SSL_FILETYPE_PEM) == 1,
            settings.key_file);
  }
  return context;
}

std::unique_ptr<Transport> make_tcp(int fd) {
  return std::make_unique<Tcp>(fd);
}

std::unique_ptr<Transport> make_tls(int fd, ssl_ctx_st* context, const TlsSettings& settings) {
  return std::make_unique<Tls>(fd, context, settings);
}

std::string last_transport_error() {
  return last_error;
}
void set_transport_error(std::string text) {
  last_error = std::move(text);
}

}  // namespace millrace::loadtest
