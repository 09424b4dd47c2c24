// epoll with nanosecond time-outs, and the read buffer that all clients of the thread share: a
// client stores bytes only for a packet that has not fully arrived.
//
// One thread. wait() sleeps in the kernel, or, if `spins`, polls without sleeping: then the
// generator's wake-up latency is not part of the measurement, at the cost of a whole core.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "loadtest/clock.hpp"

namespace millrace::loadtest {

class EventLoop {
 public:
  explicit EventLoop(bool spins);
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  void add(int fd, std::uint32_t events, void* tag);
  void modify(int fd, std::uint32_t events, void* tag);
  void remove(int fd);

  // Returns the ready events; waits at most `timeout_ns` (negative: no limit).
  std::span<const epoll_event> wait(Nanos timeout_ns);

  // Time spent in polls that found nothing: a spinning loop is busy only for the rest.
  Nanos spun_ns() const { return spun_ns_; }

  char* scratch() { return scratch_.get(); }
  std::size_t scratch_bytes() const { return scratch_bytes_; }
  // Enlarges the shared buffer to hold at least one packet of this size.
  void reserve_scratch(std::size_t packet_bytes);

 private:
  int poll(Nanos timeout_ns);

  static constexpr std::size_t kScratchBytes = 256 * 1024;
  const bool spins_;
  int epoll_fd_;
  Nanos spun_ns_ = 0;
  std::array<epoll_event, 256> events_;
  std::size_t scratch_bytes_ = kScratchBytes;
  std::unique_ptr<char[]> scratch_;
};

}  // namespace millrace::loadtest
