// The transports below MQTT: a non-blocking TCP socket, TLS over it, WebSocket over either. A
// transport moves bytes and does not parse packets (except that WebSocket may send one packet in
// each frame).
//
// One thread. Invariants: write() accepts bytes from the front of its input; bytes that it did not
// accept must be passed again next, unchanged.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <memory>
#include <string>

struct ssl_ctx_st;

namespace millrace::loadtest {

enum class IoStatus {
  done,      // some bytes were transferred (or a step was completed)
  blocked,   // nothing more until the socket is ready
  finished,  // the peer closed
  failed,
};

struct IoResult {
  IoStatus status;
  std::size_t bytes = 0;
};

class Transport {
 public:
  virtual ~Transport() = default;

  // To be called until done, after the socket is connected. If blocked, wants_write() says whether
  // it waits for the socket to be writable or readable.
  virtual IoStatus handshake() = 0;
  virtual IoResult read(char* out, std::size_t out_bytes_max) = 0;
  virtual IoResult write(const iovec* pieces, int count) = 0;
  // True if bytes accepted by write() are not written to the socket yet; flush() tries again.
  virtual bool has_unflushed() const { return false; }
  virtual IoStatus flush() { return IoStatus::done; }
  // Whether read() may return more although the socket is not readable.
  virtual bool may_hold_input() const { return false; }
  // Whether a blocked handshake waits for the socket to be writable.
  virtual bool wants_write() const { return false; }
};

struct TlsSettings {
  std::string ca_file;
  std::string certificate_file;
  std::string key_file;
  std::string server_name;
  bool insecure = false;
};

struct WebSocketSettings {
  std::string host;  // for the Host field
  std::string path = "/mqtt";
  // 0: one MQTT packet in each frame; else all available bytes, up to this many in each frame.
  std::size_t frame_bytes_max = 64 * 1024;
};

struct TlsContextDeleter {
  void operator()(ssl_ctx_st* context) const;
};
using TlsContext = std::unique_ptr<ssl_ctx_st, TlsContextDeleter>;

// Throws std::runtime_error with OpenSSL's reason (a file that cannot be read, ...).
TlsContext make_tls_context(const TlsSettings& settings);

std::unique_ptr<Transport> make_tcp(int fd);
std::unique_ptr<Transport> make_tls(int fd, ssl_ctx_st* context, const TlsSettings& settings);
std::unique_ptr<Transport> make_websocket(std::unique_ptr<Transport> lower,
                                          const WebSocketSettings& settings);

// The text of this thread's last transport failure.
std::string last_transport_error();
void set_transport_error(std::string text);

}  // namespace millrace::loadtest
