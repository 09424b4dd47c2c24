#include "server/io_thread.hpp"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <system_error>

namespace millrace::server {

namespace {

// A pass ends after this much, a full read: the subscriber works on what came of it while the next
// one is read. With passes of several reads both sides waited for each other in turn.
constexpr int pass_handlers_max = 64;
constexpr std::size_t pass_bytes_max = 48 * 1024;

int make_bell() {
  const int fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (fd < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  return fd;
}

void ring(int bell_fd) {
  const std::uint64_t one = 1;
  // It fails only when the counter is full, and then the bell rings already.
  [[maybe_unused]] const ssize_t written = ::write(bell_fd, &one, sizeof one);
}

}  // namespace

IoThread::IoThread(broker::Inbox& inbox, Worker& worker, std::shared_ptr<const Settings> settings)
    : bell_fd_(make_bell()),
      ready_list_([fd = bell_fd_] { ring(fd); }),
      inbox_(inbox),
      worker_(worker),
      settings_(std::move(settings)),
      receive_buffers_(settings_->config.connection.read_bytes),
      bell_(context_, bell_fd_),
      timer_(context_) {}

IoThread::~IoThread() {
  stop();
  join();
}

void IoThread::start() {
  thread_ = std::thread([this] {
    ::pthread_setname_np(::pthread_self(), "millrace-io");
    run();
  });
}

void IoThread::stop() {
  stopping_.store(true, std::memory_order_release);
  ring(bell_fd_);
}

void IoThread::join() {
  if (thread_.joinable()) thread_.join();
}

void IoThread::post(std::function<void()> task) {
  {
    std::lock_guard lock(posted_mutex_);
    posted_.push_back(std::move(task));
  }
  ring(bell_fd_);
}

void IoThread::run() {
  wait_for_bell();
  timer_.expires_after(std::chrono::nanoseconds(0));
  wait_for_tick();
  // Acquire pairs with the release in stop().
  while (!stopping_.load(std::memory_order_acquire)) {
    dispatch_ready();
    if (run_pass()) continue;
    if (!ready_list_.prepare_to_sleep()) continue;
    context_.run_one();
    ready_list_.awake();
  }
  wheel_.for_each([](Resident& resident) { resident.abandon(); });
  dispatch_ready();
}

bool IoThread::dispatch_ready() {
  if (!ready_list_.take(ready_)) return false;
  for (const broker::OutboxRef& outbox : ready_) outbox->dispatch();
  ready_.clear();
  return true;
}

bool IoThread::run_pass() {
  pass_bytes_ = 0;
  int handlers = 0;
  while (handlers < pass_handlers_max && pass_bytes_ < pass_bytes_max && context_.poll_one() > 0) {
    ++handlers;
  }
  return handlers > 0;
}

void IoThread::wait_for_bell() {
  bell_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                   [this](const boost::system::error_code& error) {
                     if (error) return;
                     awake();
                     std::uint64_t rings;
                     [[maybe_unused]] const ssize_t got = ::read(bell_fd_, &rings, sizeof rings);
                     run_posted();
                     wait_for_bell();
                   });
}

void IoThread::run_posted() {
  std::vector<std::function<void()>> tasks;
  {
    std::lock_guard lock(posted_mutex_);
    tasks.swap(posted_);
  }
  for (const auto& task : tasks) task();
}

void IoThread::wait_for_tick() {
  timer_.expires_at(timer_.expiry() + std::chrono::nanoseconds(tick_ns));
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    awake();
    wheel_.advance();
    // After a pause of the whole process, ticks are not made up for.
    const auto now = std::chrono::steady_clock::now();
    if (timer_.expiry() + std::chrono::nanoseconds(tick_ns) < now) timer_.expires_at(now);
    wait_for_tick();
  });
}

}  // namespace millrace::server
