// The client library for processes on the server's host: read messages, publish them, and look up
// newest values through shared memory, without a system call for each.
//
//     millrace::local::Reader reader("md/#");
//     millrace::local::Message message;
//     while (reader.next(message) == millrace::local::Status::message) use(message);
//
// Needs only access to the server's local.socket; link libmillrace-local. Standard library only.
// local_asio.hpp makes a reader awaitable in coroutines of Boost.Asio.
//
// Threads: each object belongs to one thread at a time, except for stop(), which any thread may
// call. Each object has an internal thread that waits on the connection to the server, so that the
// end of the server is noticed at once.
#pragma once

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::local {

// Thrown if the connection to the server fails: it is not running, it refused the request, or it
// has another version. what() says which.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline constexpr const char* default_socket = "/run/millrace/local.sock";
inline constexpr std::chrono::nanoseconds forever = std::chrono::nanoseconds::max();

enum class Policy : std::uint8_t {
  lossy,     // the server never waits: a reader that is too slow misses messages, see missed()
  lossless,  // the server keeps unread messages up to its limits, then the reader is evicted
};
enum class Start : std::uint8_t {
  now,     // with the next message that is published
  oldest,  // with the oldest message still in the ring
  latest,  // with the newest value of each matching topic, then the next message
};
enum class Wait : std::uint8_t { spin, yield, block };
enum class Wildcards : std::uint8_t {
  mqtt,  // `+` matches one level, a last level `#` all that follow
  star,  // also `*` for `+`, and a last level `**` for `#`
};

struct ReaderOptions {
  std::string socket = default_socket;
  Policy policy = Policy::lossy;
  Start start = Start::now;
  Wait wait = Wait::block;
  std::string name;  // by which other readers may name this one in their `after`
  // Names of readers with the same filter and policy: this one reads only what they have released.
  std::vector<std::string> after;
  Wildcards wildcards = Wildcards::mqtt;  // in the reader's filters
  bool pollable = false;                  // see Reader::fd()
};

// A message in shared memory, valid until the next call on the reader. In a lossy ring the server
// may overwrite it sooner: copy what you need and then check Reader::is_valid(), or use
// next_copy().
struct Message {
  std::string_view topic;
  std::string_view payload;
  std::uint64_t sequence = 0;  // in the ring; 0: a value from before the start (Start::latest)
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
  message,       // a message was read
  timeout,       // there was none in time
  disconnected,  // the server ended; the next calls try to attach again
  reconnected,   // attached again: messages published in between were missed
  evicted,       // a lossless reader was too slow; the next calls try to attach again
  stopped,       // stop() was called
};

class Reader {
 public:
  explicit Reader(std::string filter, ReaderOptions options = {});
  // A message that matches several of the filters is read once. At most 64 filters.
  Reader(std::vector<std::string> filters, ReaderOptions options);
  Reader(std::initializer_list<std::string_view> filters, ReaderOptions options = {});
  ~Reader();
  Reader(Reader&&) noexcept;
  Reader& operator=(Reader&&) noexcept;

  // The next message, in place. The previous one may be overwritten from now on.
  Status next(Message& message, std::chrono::nanoseconds timeout = forever);
  // The next message, copied; the copy is known to be valid.
  Status next_copy(MessageCopy& message, std::chrono::nanoseconds timeout = forever);
  // Whether the message of the last next() is still unchanged.
  bool is_valid() const;
  // Allows the server to overwrite everything read so far; next() does so from time to time, too.
  // True if all that was read since the last call was valid until then.
  bool release();

  // For poll loops, with ReaderOptions::pollable: a descriptor that stays the same for the life of
  // the reader. Call next() with a time-out of zero until it returns Status::timeout; from then on
  // the descriptor becomes readable when the next call may return something else. Only poll it
  // (poll, epoll, select, a reactor), do not read from it. Throws Error if the reader is not
  // pollable.
  int fd() const;

  std::uint64_t missed() const;  // messages overwritten before they were read, as far as known
  std::uint64_t epoch() const;   // differs in each run of the server
  std::uint64_t lag_bytes() const;
  std::string warning() const;     // about a filter with a level `*`, literal in MQTT; or empty
  std::string last_error() const;  // why it was evicted, disconnected or cannot attach again
  void stop();                     // any thread: ends the present or the next call of next()

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

enum class Published : std::uint8_t {
  taken,         // it is in the publisher ring, from which the server takes it
  full,          // the publisher ring is full: try again
  too_large,     // for the publisher ring: see local.publisher_frame_bytes_max
  disconnected,  // the server ended; the next calls try to connect again
  invalid,       // not a valid topic name (empty, wildcards, not UTF-8, $SYS), or not a QoS
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
  // The same in batches: call put() for each, then flush() once.
  Published put(std::string_view topic, std::string_view payload, bool retain = false, int qos = 0);
  void flush();
  // Waits until the server has taken everything; false at the time-out or without a server.
  bool drain(std::chrono::nanoseconds timeout = forever);

  std::uint64_t refused() const;  // messages that the server took but did not accept
  std::uint64_t epoch() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

struct Value {
  std::string payload;
  std::uint64_t sequence = 0;  // increases with each change of the table
  std::uint64_t time_ns = 0;
  bool retained = false;
};

// A lookup of the newest value of each topic that matches the filter.
class Latest {
 public:
  explicit Latest(std::string filter, std::string socket = default_socket,
                  Wildcards wildcards = Wildcards::mqtt);
  ~Latest();
  Latest(Latest&&) noexcept;
  Latest& operator=(Latest&&) noexcept;

  // False: there is no value, or (see is_connected()) no server.
  bool get(std::string_view topic, Value& value);
  bool is_connected() const;
  std::uint64_t epoch() const;
  std::string warning() const;  // as Reader::warning()

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace millrace::local
