#include "server/net/poller.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

namespace millrace::server {

namespace {

constexpr std::size_t events_max = 128;

int make_set() {
  const int fd = ::epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) throw std::system_error(errno, std::generic_category(), "epoll_create1");
  return fd;
}

}  // namespace

// --- Watch ---------------------------------------------------------------------------------------

void Watch::wait_to_read() {
  if (!watched()) return;
  waits_to_read_ = true;
  if (!added_) enlist(EPOLLIN | EPOLLRDHUP);
  if (can_read()) poller_.put_in_line(*this);
}

// Enlisted anew each time, which says at once if there is room already: a wait is rare, and a
// missed edge would leave the connection for dead.
void Watch::wait_to_write() {
  if (!watched() || waits_to_write_) return;
  waits_to_write_ = true;
  writable_ = false;
  enlist(EPOLLIN | EPOLLRDHUP | EPOLLOUT);
}

void Watch::enlist(std::uint32_t events) {
  epoll_event event{};
  event.events = events | EPOLLET;
  event.data.ptr = this;
  if (::epoll_ctl(poller_.fd_, added_ ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd_, &event) == 0) {
    added_ = true;
    return;
  }
  // The kernel has no memory for it, or no more watches: the peer is lost, as the next read says.
  ::shutdown(fd_, SHUT_RDWR);
  on_events(EPOLLHUP);
}

void Watch::unwatch() {
  if (!watched()) return;
  if (queued_) poller_.forget(*this);
  fd_ = -1;
}

int Watch::release() {
  const int fd = fd_;
  if (added_) ::epoll_ctl(poller_.fd_, EPOLL_CTL_DEL, fd, nullptr);
  unwatch();
  return fd;
}

void Watch::on_events(std::uint32_t events) {
  const bool over = (events & (EPOLLHUP | EPOLLERR)) != 0;
  if (over || (events & EPOLLRDHUP) != 0) ended_ = true;
  if (ended_ || (events & EPOLLIN) != 0) readable_ = true;
  if (over || (events & EPOLLOUT) != 0) writable_ = true;
  if ((waits_to_read_ && readable_) || (waits_to_write_ && writable_)) poller_.put_in_line(*this);
}

void Watch::serve() {
  queued_ = false;
  const bool reads = waits_to_read_ && can_read();
  const bool writes = waits_to_write_ && writable_;
  if (reads) waits_to_read_ = assumed_ = false;
  if (writes) waits_to_write_ = false;
  if (reads || writes) on_ready(reads, writes);  // it may be gone after that
}

// --- Poller --------------------------------------------------------------------------------------

Poller::Poller() : fd_(make_set()) {}

Poller::~Poller() {
  ::close(fd_);
}

void Poller::poll(int timeout_ms) {
  line_.erase(line_.begin(), line_.begin() + static_cast<std::ptrdiff_t>(next_));
  next_ = 0;
  std::array<epoll_event, events_max> events;
  const int count = ::epoll_wait(fd_, events.data(), events_max, line_.empty() ? timeout_ms : 0);
  for (int i = 0; i < count; ++i)
    static_cast<Watch*>(events[i].data.ptr)->on_events(events[i].events);
}

bool Poller::serve_one() {
  while (next_ < line_.size()) {
    Watch* const watch = line_[next_++];
    if (watch == nullptr) continue;
    watch->serve();
    return true;
  }
  return false;
}

void Poller::put_in_line(Watch& watch) {
  if (watch.queued_) return;
  watch.queued_ = true;
  line_.push_back(&watch);
}

void Poller::forget(Watch& watch) {
  watch.queued_ = false;
  std::replace(line_.begin() + static_cast<std::ptrdiff_t>(next_), line_.end(), &watch,
               static_cast<Watch*>(nullptr));
}

}  // namespace millrace::server
