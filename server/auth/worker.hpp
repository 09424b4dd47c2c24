// Worker: one thread for what takes too long for the threads that serve sockets: checking
// passwords.
//
// Addresses take turns: of an address with a thousand checks one is done, and then the first check of
// another address. What waits is bounded, in all and for each address; what does not fit is
// refused at once, and whoever asked says so to its peer. An address or a user name that failed
// before waits longer (login_delays.hpp); of those, few of an address may wait at a time, and they
// give up their places to logins that need not wait. A check whose client has left is not computed.
//
// Threads: stop() one; all else any. What is posted after stop() is refused.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "server/auth/login_delays.hpp"
#include "server/observe/metrics.hpp"

namespace millrace::server {

class Worker {
 public:
  // Runs on the worker's thread. Says whether the password was right, after it has told whoever
  // asked.
  using Check = std::function<bool()>;
  // Runs on the worker's thread in place of the check: its place was needed for others.
  using Refused = std::function<void()>;
  // A check that waits; null: it was refused.
  class Waiting;
  using Ticket = std::shared_ptr<Waiting>;

  Worker();
  ~Worker() { stop(); }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // How many delayed logins of one address wait at a time.
  static constexpr std::size_t held_back_max = 8;

  // Null: `limit` checks wait or run already, or three quarters of that from this address alone, or
  // this one is delayed and others of its address are.
  Ticket post(std::size_t limit, Login login, Check check, Refused refused = {});
  // Its client has left. If it has not begun it never will, and its place is free.
  void cancel(const Ticket& ticket);

  // For what is too cheap to wait in line without need (SCRAM): whether it has to, as its address
  // or its user name failed before; if not, how it came out.
  bool must_wait(Login login) const;
  void note(Login login, bool right);
  void set_delay_max(std::chrono::milliseconds max);

  // Checks that wait or run.
  std::size_t waiting() const { return waiting_.load(std::memory_order_relaxed); }
  // Since the start: checks that were made, and checks that had to wait for a delay.
  std::size_t done() const { return done_.load(std::memory_order_relaxed); }
  std::size_t delayed() const { return delayed_.load(std::memory_order_relaxed); }

  // Waits for the running check; those behind it are dropped.
  void stop();

 private:
  using Clock = LoginDelays::Clock;
  // What waits of one address.
  struct Line {
    std::string address;
    std::deque<Ticket> tickets;
  };

  void run();
  Clock::time_point due(const Login& login) const;
  void learn(const Login& login, bool right);
  // The next in turn that is due; null: none, and `due` is when the first will be.
  Ticket take_next(Clock::time_point now, Clock::time_point& due);
  std::list<Line>::iterator line_of(const std::string& address);
  static std::size_t count_held_back(const Line& line);
  // Of all that are delayed, the one that came last of the address with the most; false: none is.
  bool evict_held_back();
  void run_refused(std::unique_lock<std::mutex>& lock);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::list<Line> lines_;        // under mutex_, as all up to thread_; the next in turn first
  std::vector<Ticket> refused_;  // out of their lines, and not told yet
  LoginDelays delays_;
  bool stopping_ = false;
  std::atomic<std::size_t> waiting_{0};
  std::atomic<std::size_t> done_{0};
  std::atomic<std::size_t> delayed_{0};
  std::thread thread_;
};

std::vector<MetricRow> worker_metric_rows(const Worker& worker);

}  // namespace millrace::server
