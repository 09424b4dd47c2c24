// The bytes below MQTT: a non-blocking TCP socket, TLS on it, WebSocket on either. A transport
// moves bytes and knows nothing of packets (but that a WebSocket may have to frame them one by
// one).
//
// One thread. Always holds: write() takes whole pieces of what it is given from the front; what it
// did not take must be offered again first, unchanged.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <memory>
#include <string>

struct ssl_ctx_st;

namespace millrace::loadtest {

enum class IoStatus {
  done,      // some bytes were moved (or a step was completed)
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

  // Repeated until done, after the socket is connected. blocked: `wants_write` says for what.
  virtual IoStatus handshake() = 0;
  virtual IoResult read(char* out, std::size_t out_bytes_max) = 0;
  virtual IoResult write(const iovec* pieces, int count) = 0;
  // Bytes taken by write() that are not on the socket yet; flush() tries again.
  virtual bool has_unflushed() const { return false; }
  virtual IoStatus flush() { return IoStatus::done; }
  // Whether read() may have more although the socket is not readable.
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
  // 0: one MQTT packet a frame; else as many bytes a frame as there are, up to this.
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

// The text of the last failure of any transport of this thread.
std::string last_transport_error();
void set_transport_error(std::string text);

}  // namespace millrace::loadtest
