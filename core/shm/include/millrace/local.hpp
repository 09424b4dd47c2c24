// Millrace for a process on the same host: read, publish and look up without a system call.
//
//     millrace::local::Reader reader("md/#");
//     millrace::local::Message message;
//     while (reader.next(message) == millrace::local::Status::message) use(message);
//
// Needs the server's socket and nothing else; link libmillrace-local. Standard library only.
//
// Threads: each object belongs to one thread at a time, but for stop(), which any may call. Each
// has a thread of its own that sleeps on the control socket's socket, so that a server that dies is noticed
// at once.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::local {

// The control socket could not be opened: nobody there, refused, another version. what() says which.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline constexpr const char* default_socket = "/run/millrace/local.sock";
inline constexpr std::chrono::nanoseconds forever = std::chrono::nanoseconds::max();

enum class Policy : std::uint8_t {
  lossy,     // the server never waits: a reader that is lapped misses messages, and knows how many
  lossless,  // the server keeps what is unread, within limits: a reader that stops is evicted
};
enum class Start : std::uint8_t {
  now,     // what comes next
  oldest,  // what is still in the ring
  latest,  // the newest value of each matching topic, then what comes next
};
enum class Wait : std::uint8_t { spin, yield, block };

struct ReaderOptions {
  std::string socket = default_socket;
  Policy policy = Policy::lossy;
  Start start = Start::now;
  Wait wait = Wait::block;
  std::string name;                // by which others may stand after this reader
  std::vector<std::string> after;  // read only what these readers of the same filter have passed
};

// Points into shared memory, valid until the next call on the reader. In a lossy ring the server
// may overwrite it sooner: copy what you need, then ask Reader::is_valid(), or use next_copy().
struct Message {
  std::string_view topic;
  std::string_view payload;
  std::uint64_t sequence = 0;  // of the ring; 0: a newest value from before (Start::latest)
  std::uint64_t time_ns = 0;   // when it was published, since 1970
  bool retained = false;
  bool oversize = false;  // too large for the ring: the payload is empty
  std::uint64_t oversize_bytes = 0;
};

struct MessageCopy {
  std::string topic;
  std::string payload;
  std::uint64_t sequence = 0;
  std::uint64_t time_ns = 0;
  bool retained = false;
  bool oversize = false;
  std::uint64_t oversize_bytes = 0;
};

enum class Status : std::uint8_t {
  message,       // there is one
  timeout,       // none came in time
  disconnected,  // the server went away; call again, and the reader looks for it
  reconnected,   // it is back (see epoch()): what was published in between is missed
  evicted,       // a lossless reader was too slow; call again to attach anew
  stopped,       // stop() was called
};

class Reader {
 public:
  explicit Reader(std::string filter, ReaderOptions options = {});
  ~Reader();
  Reader(Reader&&) noexcept;
  Reader& operator=(Reader&&) noexcept;

  // The next message, in place. The one before is given back.
  Status next(Message& message, std::chrono::nanoseconds timeout = forever);
  // The next message, copied and checked: what it holds is whole.
  Status next_copy(MessageCopy& message, std::chrono::nanoseconds timeout = forever);
  // Is the message of the last next() still what it was?
  bool is_valid() const;
  // Gives everything back now, without asking for more; says whether it was valid to the end.
  bool release();

  std::uint64_t missed() const;  // messages that were overwritten unread, as far as is known
  std::uint64_t epoch() const;   // of the server's run
  std::uint64_t lag_bytes() const;
  std::string last_error() const;  // why it was evicted or cannot come back
  void stop();                     // any thread: next() returns

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

enum class Published : std::uint8_t {
  taken,         // in the publisher ring: the server has it, or will
  full,          // the server is behind: try again
  too_large,     //
  disconnected,  // the server went away; a later call finds it again
};

struct PublisherOptions {
  std::string socket = default_socket;
  std::string name;
};

class Publisher {
 public:
  explicit Publisher(PublisherOptions options = {});
  ~Publisher();
  Publisher(Publisher&&) noexcept;
  Publisher& operator=(Publisher&&) noexcept;

  Published publish(std::string_view topic, std::string_view payload, bool retain = false,
                    int qos = 0);
  // The same in batches: put many, then flush once.
  Published put(std::string_view topic, std::string_view payload, bool retain = false, int qos = 0);
  void flush();
  // Waits until the server has taken everything; false at the time-out or without a server.
  bool drain(std::chrono::nanoseconds timeout = forever);

  std::uint64_t refused() const;  // taken by the server, but not allowed or malformed
  std::uint64_t epoch() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

struct Value {
  std::string payload;
  std::uint64_t sequence = 0;  // goes up with each change of the table
  std::uint64_t time_ns = 0;
  bool retained = false;
};

// The newest value of any topic that matches the filter, at one look.
class Latest {
 public:
  explicit Latest(std::string filter, std::string socket = default_socket);
  ~Latest();
  Latest(Latest&&) noexcept;
  Latest& operator=(Latest&&) noexcept;

  // False: no value is known (or, see is_connected(), the server went away and is not back).
  bool get(std::string_view topic, Value& value);
  bool is_connected() const;
  std::uint64_t epoch() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace millrace::local
