#include "server/net/io_thread.hpp"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <system_error>

#include "core/broker/ledger.hpp"

namespace millrace::server {

namespace {

// A pass ends after this much, a full read: the subscriber works on what came of it while the next
// one is read. With passes of several reads both sides waited for each other in turn.
constexpr int pass_served_max = 64;
constexpr std::size_t pass_bytes_max = 48 * 1024;

// CONNECTs of the largest size that may be arriving at one time; small ones are not counted.
constexpr std::size_t whole_connects_max = 64;

int make_wake_up() {
  const int fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (fd < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  return fd;
}

}  // namespace

IoThread::WakeUp::WakeUp(IoThread& thread)
    : Watch(thread.poller_, make_wake_up()), thread_(thread) {}

IoThread::WakeUp::~WakeUp() {
  const int wake_up = fd();
  unwatch();
  ::close(wake_up);
}

void IoThread::WakeUp::signal() {
  const std::uint64_t one = 1;
  // It fails only when the counter is full, after more than 10^19 signals.
  [[maybe_unused]] const ssize_t written = ::write(fd(), &one, sizeof one);
}

void IoThread::WakeUp::on_ready(bool, bool) {
  found_nothing();
  wait();
  thread_.run_posted();
}

IoThread::IoThread(broker::Inbox& inbox, Worker& worker, std::shared_ptr<const Settings> settings)
    : wake_up_(*this),
      ready_list_([this] { wake_up_.signal(); }),
      inbox_(inbox),
      worker_(worker),
      settings_(std::move(settings)),
      read_memory_(settings_->config.connection.read_bytes,
                   whole_connects_max * settings_->config.connect_bytes_max, inbox.ledger()) {}

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
  wake_up_.signal();
}

void IoThread::join() {
  if (thread_.joinable()) thread_.join();
}

void IoThread::post(std::function<void()> task) {
  {
    std::lock_guard lock(posted_mutex_);
    posted_.push_back(std::move(task));
  }
  wake_up_.signal();
}

void IoThread::run() {
  wake_up_.wait();
  next_tick_ = Clock::now() + std::chrono::nanoseconds(tick_ns);
  // Acquire pairs with the release in stop().
  while (!stopping_.load(std::memory_order_acquire)) {
    dispatch_ready();
    advance_wheel();
    if (run_pass()) continue;
    if (!ready_list_.prepare_to_sleep()) continue;
    sleep();
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
  if (!polled_) poller_.poll(0);
  polled_ = false;
  int served = 0;
  while (served < pass_served_max && pass_bytes_ < pass_bytes_max && poller_.serve_one()) ++served;
  return served > 0;
}

// Until something is ready, or the next tick or a look is due.
void IoThread::sleep() {
  auto until = next_tick_;
  if (!looks_.empty()) {
    until = std::min(until, Clock::time_point(std::chrono::nanoseconds(looks_.next_due_ns())));
  }
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
  poller_.poll(std::max(0, static_cast<int>(left.count())));
  polled_ = true;
}

void IoThread::run_posted() {
  std::vector<std::function<void()>> tasks;
  {
    std::lock_guard lock(posted_mutex_);
    tasks.swap(posted_);
  }
  for (const auto& task : tasks) task();
}

void IoThread::advance_wheel() {
  const auto now = Clock::now();
  if (!looks_.empty()) looks_.advance(now.time_since_epoch().count());
  if (now < next_tick_) return;
  wheel_.advance();
  // The processor may have nothing to do while what arrives takes all memory, so it is looked anew.
  if (wheel_.tick() % ticks(1) == 0 && inbox_.ledger().is_scarce_now()) {
    wheel_.for_each([](Resident& resident) { resident.relieve_memory(); });
  }
  // After a pause of the whole process, ticks are not made up for.
  next_tick_ += std::chrono::nanoseconds(tick_ns);
  if (next_tick_ < now) next_tick_ = now;
}

}  // namespace millrace::server
