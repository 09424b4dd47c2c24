// MQTT over TLS: OpenSSL reads and writes the socket itself, so an idle connection holds no buffer
// and a read decrypts straight into the thread's receive buffer.
#pragma once

#include <openssl/ssl.h>

#include <boost/asio/ssl/context.hpp>
#include <memory>
#include <string>
#include <vector>

#include "server/net/tcp_stream.hpp"

namespace millrace::server {

// The client's side: what the server is told about whom is meant, and held to.
struct TlsServer {
  std::string name;        // a host's name or address
  bool must_match = true;  // its certificate must be for that name
};

class TlsStream : public TcpStream {
 public:
  // `server`: the stream is the client's side; null: it is the server's.
  TlsStream(Poller& poller, int fd, boost::asio::ssl::context& context,
            const TlsServer* server = nullptr);

  IoResult read(std::span<std::uint8_t> into) override;
  IoResult write(std::span<const iovec> from) override;
  IoStatus flush() override { return flush_record(); }
  void wait_readable() override;
  void wait_writable() override;
  void shutdown() override;
  std::string failure() const override;
  std::optional<std::string> certified_user(CertificateUser part) const override;
  bool certificate_holds(const TlsSetup& newest) const override;

 protected:
  void begin() override;

 private:
  void on_wait_over(bool can_read) override;
  void handshake();
  IoStatus put(std::span<const std::uint8_t>& record);
  IoStatus flush_record();
  IoStatus status_of(int result, bool reading, bool& wants_other);
  void note_failure();

  struct Free {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  std::unique_ptr<SSL, Free> ssl_;
  const SSL_CTX* const context_;  // that it began with; ssl_ keeps it
  // A record that OpenSSL has begun and the kernel did not take: what is written next, whatever
  // becomes urgent meanwhile. Empty: none.
  std::vector<std::uint8_t> record_;
  std::unique_ptr<std::string> failure_;  // as failure() says; null: none
  bool is_client_ = false;
  bool handshaking_ = false;
  bool read_wants_write_ = false;
  bool write_wants_read_ = false;
  bool broken_ = false;          // OpenSSL gave up: not even an alert may be sent
  bool maybe_buffered_ = false;  // the last read may have left decrypted bytes behind
};

}  // namespace millrace::server
