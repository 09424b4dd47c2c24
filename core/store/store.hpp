// Store: the log with the thread that writes it. Batches that come while the disk is busy are
// written together by the next write, and made durable by one flush. What nobody waits for (mostly
// removals, as readers acknowledge) is written with what comes next, or a little later by itself: else
// a publisher that waits for each PUBACK would wait for the removal of the message before, too.
//
// When the disk fails. A write that fails (the disk is full) is tried again each second, and nothing
// is reported as committed meanwhile; it goes on by itself when there is room. A flush that fails is
// final: the system may have dropped what it could not write, so nothing is committed any more until
// the process is started again. Both are said by state().
//
// Threads: open(), start() and stop() one; append() the processor's holder; the rest any.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/base/counter.hpp"
#include "core/base/histogram.hpp"
#include "core/store/commit_log.hpp"
#include "core/store/log.hpp"

namespace millrace::store {

enum class Durability : std::uint8_t {
  commit,    // an acknowledgement waits until what it acknowledges is on the disk
  interval,  // flushed each interval; acknowledgements do not wait while the disk works and keeps up
  off        // nothing is appended: what there is takes the place of what was, by replace()
};

struct StoreOptions {
  Durability durability = Durability::commit;
  std::chrono::milliseconds interval{1000};
  // With `commit`: what nobody waits for is written at the latest after this time.
  std::chrono::milliseconds unawaited_delay{20};
  // What may wait while writes fail; beyond it the store has failed. While they do not fail, but take
  // long: four times as much; acknowledgements wait from a quarter on, with `interval`, too.
  std::uint64_t waiting_bytes_max = 256ull << 20;
  std::chrono::milliseconds retry_interval{1000};
  LogOptions log;
};

struct StoreFigures {
  base::Counter records, written_bytes, flushes, write_errors;
  base::Counter waiting_bytes;
  base::PowerHistogram<24> flush_us;       // how long a write and its flush took
  base::PowerHistogram<14> flush_batches;  // batches in one
};

class Store final : public CommitLog {
 public:
  Store(Files& files, const StoreOptions& options) : options_(options), log_(files, options.log) {}
  ~Store() override { stop(); }

  // Shows what is alive; see Log::open().
  Recovery open(const Log::Visit& visit);

  struct Listener {
    // Everything up to that batch is on the disk. By the store's thread.
    std::function<void(std::uint64_t number)> committed;
    // What an operator should know: "store.failing" and why. Rare.
    std::function<void(std::string event, std::string detail)> report;
  };
  void start(Listener listener);
  // Writes what waits, and flushes it.
  void stop();
  // See Log::replace(). Instead of start(), append() and stop().
  std::error_code replace(const Log::Show& show);

  std::uint64_t append(Batch& batch, bool awaited) override;
  void expect() override;
  bool acknowledgements_wait() const override {
    return options_.durability == Durability::commit || is_behind() || state() != State::good;
  }
  bool is_behind() const override {
    return figures_.waiting_bytes.value() > options_.waiting_bytes_max / 4;
  }
  void wait_while_behind() const override;
  bool failed() const override { return state() == State::failed; }
  Trouble trouble() const override;

  enum class State : std::uint8_t { good, failing, failed };
  State state() const { return state_.load(std::memory_order_acquire); }
  // All that was appended is on the disk.
  bool idle() const {
    return committed_.load(std::memory_order_acquire) == appended_.load(std::memory_order_acquire);
  }
  const StoreFigures& figures() const { return figures_; }
  const Log& log() const { return log_; }

 private:
  // Batches, one after the other.
  struct Waiting {
    Bytes bytes;
    struct One {
      std::uint32_t records = 0;
      std::size_t bytes = 0;
    };
    std::vector<One> batches;
    bool empty() const { return batches.empty(); }
    void clear();
  };

  // With `interval`: so much does not wait for it.
  std::uint64_t write_early_bytes() const { return options_.waiting_bytes_max / 16; }
  void run();
  void wait_for_more(std::unique_lock<std::mutex>& lock);
  void commit(const Waiting& batches);
  std::error_code write_until_it_works();
  void fail(const std::string& why);
  void compact_if_worth_it();
  void report(std::string event, std::string detail);

  const StoreOptions options_;
  Log log_;
  Listener listener_;
  StoreFigures figures_;

  std::mutex mutex_;
  std::condition_variable wake_;
  Waiting waiting_;          // under mutex_
  bool awaited_ = false;     // under mutex_: an answer waits for what is in waiting_
  bool stopping_ = false;    // under mutex_
  bool overflowed_ = false;  // under mutex_: to be reported
  std::atomic<std::uint64_t> appended_{0};
  std::atomic<std::uint64_t> committed_{0};
  std::atomic<State> state_{State::good};
  std::atomic<bool> no_space_{false};  // the write that failed last did for want of room

  std::thread thread_;
  std::thread compactor_;
  std::atomic<bool> compacting_{false};
  std::chrono::steady_clock::time_point next_compaction_{};
};

}  // namespace millrace::store
