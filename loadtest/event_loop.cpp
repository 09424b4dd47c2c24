#include "loadtest/event_loop.hpp"

#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace millrace::loadtest {

EventLoop::EventLoop(bool spins)
    : spins_(spins),
      epoll_fd_(epoll_create1(EPOLL_CLOEXEC)),
      scratch_(std::make_unique_for_overwrite<char[]>(kScratchBytes)) {
  if (epoll_fd_ < 0) throw std::system_error(errno, std::generic_category(), "epoll_create1");
  prctl(PR_SET_TIMERSLACK, 1UL);  // the default of 50 us would delay the schedule's sends
}

EventLoop::~EventLoop() {
  ::close(epoll_fd_);
}

void EventLoop::add(int fd, std::uint32_t events, void* tag) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = tag;
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) {
    throw std::system_error(errno, std::generic_category(), "epoll_ctl");
  }
}

void EventLoop::modify(int fd, std::uint32_t events, void* tag) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = tag;
  epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event);
}

void EventLoop::remove(int fd) {
  epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
}

int EventLoop::poll(Nanos timeout_ns) {
  timespec limit{};
  timespec* wanted = nullptr;
  if (timeout_ns >= 0) {
    limit.tv_sec = timeout_ns / kSecond;
    limit.tv_nsec = timeout_ns % kSecond;
    wanted = &limit;
  }
  const int n =
      epoll_pwait2(epoll_fd_, events_.data(), static_cast<int>(events_.size()), wanted, nullptr);
  if (n < 0 && errno != EINTR) {
    throw std::system_error(errno, std::generic_category(), "epoll_pwait2");
  }
  return n < 0 ? 0 : n;
}

std::span<const epoll_event> EventLoop::wait(Nanos timeout_ns) {
  int n = 0;
  if (!spins_) {
    n = poll(timeout_ns);
  } else {
    const Nanos begin = now_ns();
    for (;;) {
      n = poll(0);
      if (n > 0) break;
      const Nanos waited = now_ns() - begin;
      if (timeout_ns >= 0 && waited >= timeout_ns) {
        spun_ns_ += waited;
        break;
      }
    }
    if (n > 0) spun_ns_ += now_ns() - begin;
  }
  return {events_.data(), static_cast<std::size_t>(n)};
}

void EventLoop::reserve_scratch(std::size_t packet_bytes) {
  if (packet_bytes * 2 <= scratch_bytes_) return;
  scratch_bytes_ = packet_bytes * 2;
  scratch_ = std::make_unique_for_overwrite<char[]>(scratch_bytes_);
}

}  // namespace millrace::loadtest
