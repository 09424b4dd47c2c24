// Stream: the byte stream under a connection, whatever carries it: TCP, TLS, WebSocket, or both.
//
// Non-blocking on both sides: read() and write() move what they can and say so; wait_readable() and
// wait_writable() ask for one call when more can move. One virtual call moves a whole batch of
// packets, so nothing here is paid per message.
//
// Threads: everything on the connection's I/O thread. A stream is owned by its StreamUser and
// may be asked for anything but open() only after on_open(). It holds a reference to the user while
// a wait of its own calls it.
#pragma once

#include <sys/uio.h>

#include <boost/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "server/config/config.hpp"
#include "server/net/peer_address.hpp"

namespace millrace::server {

struct TlsSetup;

// Reads what has arrived and drops it: closing a socket with unread bytes resets the connection,
// and the peer may lose the last packets that were sent to it. Bounded; never waits.
void discard_received(int fd);

enum class IoStatus : std::uint8_t {
  ok,      // `bytes` were moved, at least one
  again,   // nothing moved; wait
  end,     // the peer has finished sending
  broken,  // the peer broke the stream's own rules; shutdown() will say so to it
  failed,  // the connection is lost
};

struct IoResult {
  IoStatus status;
  std::size_t bytes = 0;
};

// What a stream calls. Each call may end in the stream being closed, never in its destruction.
class StreamUser : public boost::intrusive_ref_counter<StreamUser, boost::thread_unsafe_counter> {
 public:
  virtual ~StreamUser() = default;
  virtual void on_open() = 0;
  virtual void on_open_failed() = 0;  // the handshake
  virtual void on_readable() = 0;
  virtual void on_writable() = 0;
};
using StreamUserRef = boost::intrusive_ptr<StreamUser>;

class Stream {
 public:
  virtual ~Stream() = default;

  // Handshakes, then one of on_open() and on_open_failed(), possibly before this returns.
  virtual void open(StreamUser& user) = 0;

  virtual IoResult read(std::span<std::uint8_t> into) = 0;
  // Takes the bytes in order; fewer than given means that the next call would say `again`.
  virtual IoResult write(std::span<const iovec> from) = 0;
  // Moves on what write() took but the kernel did not: `ok` when nothing is left. Then
  // wait_writable() is for that too.
  virtual IoStatus flush() { return IoStatus::ok; }

  // One call to on_readable() or on_writable(). Idempotent while one is pending.
  virtual void wait_readable() = 0;
  virtual void wait_writable() = 0;
  // on_readable(), soon and in turn with others, whatever the socket has: for bytes that are here
  // already.
  virtual void post_readable() = 0;

  // Says that no more will be written. The peer may still send; what it sends can be read.
  virtual void shutdown() = 0;
  // Ends it at once; pending waits are not called back. Idempotent.
  virtual void close() = 0;

  // The user name that the peer's certificate proves, once it is open. None: it showed none, or
  // there is no TLS; empty: it has no such part.
  virtual std::optional<std::string> certified_user(CertificateUser) const { return std::nullopt; }

  // Why it failed, in words, where a transport of the client's side knows, or why a handshake of the
  // server's side did not accept the client's certificate; else empty.
  virtual std::string failure() const { return {}; }

  // False: a handshake with the newest files would not accept the certificate that the peer showed.
  virtual bool certificate_holds(const TlsSetup&) const { return true; }

  // Who is at the other end; behind a proxy that may say so, whoever is behind it.
  virtual PeerAddress peer() { return peer_address(fd()); }

  // The socket; negative once it is closed.
  virtual int fd() = 0;
};

}  // namespace millrace::server
