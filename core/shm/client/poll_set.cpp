#include "core/shm/client/poll_set.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include <cstdint>
#include <utility>

namespace millrace::shm {

std::unique_ptr<PollSet> PollSet::make() {
  std::unique_ptr<PollSet> set(new PollSet);
  set->epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  set->event_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  set->timer_.reset(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  const bool complete =
      set->epoll_ && set->event_ && set->timer_ && set->add(set->event_) && set->add(set->timer_);
  return complete ? std::move(set) : nullptr;
}

bool PollSet::add(const UniqueFd& fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd.get(), &event) == 0;
}

bool PollSet::set_wake_pipe(UniqueFd pipe) {
  remove_wake_pipe();
  pipe_ = std::move(pipe);
  return add(pipe_);
}

void PollSet::remove_wake_pipe() {
  // The server has the same open file, so closing this descriptor would not remove it from the set.
  if (pipe_) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, pipe_.get(), nullptr);
  pipe_.reset();
}

void PollSet::signal() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(event_.get(), &one, sizeof one);
}

void PollSet::signal_after(std::chrono::nanoseconds time) {
  itimerspec at{};
  at.it_value.tv_nsec = static_cast<long>(time.count());
  ::timerfd_settime(timer_.get(), 0, &at, nullptr);
}

void PollSet::clear() {
  const itimerspec never{};
  ::timerfd_settime(timer_.get(), 0, &never, nullptr);
  char bytes[64];
  [[maybe_unused]] ssize_t count = ::read(event_.get(), bytes, sizeof bytes);
  // The pipe holds one byte for each wake-up since the last call: possibly many, if the caller
  // waited in next() rather than on fd() meanwhile.
  while (pipe_ && ::read(pipe_.get(), bytes, sizeof bytes) == sizeof bytes) {
  }
}

}  // namespace millrace::shm
