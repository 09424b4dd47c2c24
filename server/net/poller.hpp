// Poller: the descriptors of an I/O thread, in an epoll set. Watch: one of them.
//
// Edge-triggered: a descriptor is added once; a wait costs no system call, and a descriptor no
// memory but its Watch. The Watch remembers what an edge said until a read finds nothing more. A
// read that returns less than was asked for has emptied the descriptor: what arrives after it is an
// edge of its own (epoll(7)).
//
// What is ready waits in line and is served one by one, so that a pass can end in between; a watch
// that is ready again goes to the end of the line.
//
// Threads: the I/O thread alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace millrace::server {

class Poller;

class Watch {
 public:
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

 protected:
  // `fd`: non-blocking; the caller's to close. The poller outlives the watch.
  Watch(Poller& poller, int fd) : poller_(poller), fd_(fd) {}
  ~Watch() { unwatch(); }

  int fd() const { return fd_; }
  bool watched() const { return fd_ >= 0; }

  // What came of the waits; both at once only if both were asked for.
  virtual void on_ready(bool readable, bool writable) = 0;

  // One call to on_ready(), later, never from in here. Idempotent while one is pending.
  void wait_to_read();
  void wait_to_write();
  // The descriptor said that there is nothing to read now (EAGAIN).
  void found_nothing() { readable_ = ended_ = false; }
  // It gave less than was asked for: nothing more, but for the end if it has come.
  void found_less() { readable_ = ended_; }
  // There is something to read that the descriptor does not know of: the next wait is over soon.
  void assume_readable() { assumed_ = true; }
  // No more calls. Close the descriptor at once then: that is what takes it out of the set.
  void unwatch();
  // No more calls, and the descriptor, out of the set: another may watch it.
  int release();

 private:
  friend class Poller;
  void on_events(std::uint32_t events);
  void serve();
  bool can_read() const { return readable_ || assumed_; }
  void enlist(std::uint32_t events);

  Poller& poller_;
  int fd_;
  bool added_ : 1 = false;
  bool queued_ : 1 = false;
  bool waits_to_read_ : 1 = false;
  bool waits_to_write_ : 1 = false;
  bool readable_ : 1 = false;
  bool writable_ : 1 = false;
  bool assumed_ : 1 = false;
  bool ended_ : 1 = false;  // the peer's end, or an error, is still to be read
};

class Poller {
 public:
  Poller();
  ~Poller();
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  // Puts what has become ready in line. Waits for it up to `timeout_ms`, unless some are in line.
  void poll(int timeout_ms);
  // Serves the first in line; false if there is none.
  bool serve_one();

 private:
  friend class Watch;
  void put_in_line(Watch& watch);
  void forget(Watch& watch);

  const int fd_;
  std::vector<Watch*> line_;  // null: it has gone
  std::size_t next_ = 0;      // those before it have been served
};

}  // namespace millrace::server
