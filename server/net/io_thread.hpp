// IoThread: one thread, one poller, the connections that live and die on it, and what they share:
// the receive buffer, the write scratch, the counters, the timer wheel.
//
// Its loop: serve the outboxes that the processor filled, run a pass of what is ready, sleep only
// when neither found anything. There is one wake-up, an eventfd, signalled only while it sleeps;
// nothing is posted per message or per connection. Nothing of Asio is in here: its reactor
// would keep state of its own and make a system call for every wait of every socket.
//
// Threads: post() and stop() from any thread; start() and join() from the owner; counters() may be
// read by any; everything else on the thread itself.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "core/broker/command.hpp"
#include "core/broker/inbox.hpp"
#include "core/broker/outbox.hpp"
#include "server/auth/settings.hpp"
#include "server/auth/worker.hpp"
#include "server/net/late_binding.hpp"
#include "server/net/look_wheel.hpp"
#include "server/net/poller.hpp"
#include "server/net/read_memory.hpp"
#include "server/net/timer_wheel.hpp"
#include "server/net/write_batch.hpp"
#include "server/observe/counters.hpp"

namespace millrace::server {

class Guests;
class HttpHook;

class IoThread final : public LateHome {
 public:
  // The wheel's step. Time-outs are late by at most two of them.
  static constexpr std::int64_t tick_ns = 250'000'000;

  // Seconds as ticks.
  static constexpr std::uint32_t ticks(std::uint32_t seconds) {
    return static_cast<std::uint32_t>(seconds * (1'000'000'000 / tick_ns));
  }

  IoThread(broker::Inbox& inbox, Worker& worker, std::shared_ptr<const Settings> settings);
  ~IoThread();
  IoThread(const IoThread&) = delete;
  IoThread& operator=(const IoThread&) = delete;

  // Before start(): who is counted, with the other threads' connections. Null: nobody is.
  void set_guests(Guests* guests) { guests_ = guests; }
  // Before start(): who says who clients are. Null: nobody.
  void set_hook(HttpHook* hook) { hook_ = hook; }
  void start();
  void stop();
  void join();

  // Runs `task` on the thread soon. For rare things: a new connection, a reload, the end.
  void post(std::function<void()> task);

  const IoCounters& counters() const { return counters_; }
  // Residents of this thread, as the last change left them; and those among them that are only here
  // to be told that there is no room.
  std::size_t resident_count() const { return resident_count_.load(std::memory_order_relaxed); }
  std::size_t turned_away_count() const {
    return turned_away_count_.load(std::memory_order_relaxed);
  }

  // --- On the thread -----------------------------------------------------------------------------

  Poller& poller() { return poller_; }
  broker::Inbox& inbox() { return inbox_; }
  Worker& worker() { return worker_; }
  Guests* guests() { return guests_; }
  HttpHook* hook() { return hook_; }
  broker::ReadyList& ready_list() { return ready_list_; }
  const Settings& settings() const { return *settings_; }
  const Config& config() const { return settings_->config; }
  void set_settings(std::shared_ptr<const Settings> settings) { settings_ = std::move(settings); }
  IoCounters& counters() { return counters_; }
  ReadMemory& read_memory() { return read_memory_; }
  WriterPiece& piece() { return piece_; }
  // Empty between two reads; its capacity stays.
  std::vector<broker::Command>& commands() { return commands_; }
  TimerWheel& wheel() { return wheel_; }
  const LookWheel& looks() const { return looks_; }

  // --- LateHome ---
  const OutboxConfig& outbox_config() const override { return config().outbox; }
  void schedule_look(Look& look, std::int64_t at_ns, std::int64_t now_ns) override {
    looks_.schedule(look, at_ns, now_ns);
  }
  void cancel_look(Look& look) override { looks_.cancel(look); }
  Counter& unread_bytes() override { return counters_.unread_bytes; }
  Counter& late_binding_unknown() override { return counters_.late_binding_unknown; }

  // Tells the processor that the wake-up need not be signalled. Every handler begins with it.
  void awake() { ready_list_.awake(); }
  // Counts towards the end of the pass: after that many bytes the outboxes come first.
  void count_received(std::size_t bytes) { pass_bytes_ += bytes; }

  // Serves the outboxes that were filled; false if there were none.
  bool dispatch_ready();

  // Bracket a resident's life. The wheel is the thread's list of them: schedule it at once.
  void count_resident(bool turned_away) {
    resident_count_.fetch_add(1, std::memory_order_relaxed);
    if (turned_away) turned_away_count_.fetch_add(1, std::memory_order_relaxed);
  }
  void discount_resident(bool turned_away) {
    if (turned_away) turned_away_count_.fetch_sub(1, std::memory_order_relaxed);
    resident_count_.fetch_sub(1, std::memory_order_relaxed);
  }

 private:
  using Clock = std::chrono::steady_clock;

  // An eventfd. Each write is an edge of its own, so it is never read.
  class WakeUp final : public Watch {
   public:
    explicit WakeUp(IoThread& thread);
    ~WakeUp();
    void signal();  // any thread
    void wait() { wait_to_read(); }

   private:
    void on_ready(bool readable, bool writable) override;
    IoThread& thread_;
  };

  void run();
  bool run_pass();
  void sleep();
  void run_posted();
  void advance_wheel();

  Poller poller_;
  WakeUp wake_up_;
  broker::ReadyList ready_list_;
  broker::Inbox& inbox_;
  Worker& worker_;
  Guests* guests_ = nullptr;
  HttpHook* hook_ = nullptr;
  std::shared_ptr<const Settings> settings_;
  IoCounters counters_;
  ReadMemory read_memory_;
  WriterPiece piece_;
  TimerWheel wheel_;
  LookWheel looks_;
  std::vector<broker::Command> commands_;
  std::vector<broker::OutboxRef> ready_;
  std::size_t pass_bytes_ = 0;
  std::atomic<std::size_t> resident_count_{0};
  std::atomic<std::size_t> turned_away_count_{0};

  std::mutex posted_mutex_;
  std::vector<std::function<void()>> posted_;  // under posted_mutex_
  std::atomic<bool> stopping_{false};

  bool polled_ = false;  // sleep() has polled: the next pass need not
  Clock::time_point next_tick_;
  std::thread thread_;
};

}  // namespace millrace::server
