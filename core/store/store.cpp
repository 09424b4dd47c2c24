#include "core/store/store.hpp"

#include <cassert>
#include <cerrno>
#include <utility>

namespace millrace::store {

namespace {

constexpr std::size_t kept_bytes_max = 4 << 20;
constexpr std::chrono::seconds after_failed_compaction{60};

std::uint64_t microseconds_since(std::chrono::steady_clock::time_point start) {
  const auto took = std::chrono::steady_clock::now() - start;
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(took).count());
}

bool is_no_space(const std::error_code& error) {
  return error == std::errc::no_space_on_device || error.value() == EDQUOT;
}

}  // namespace

void Store::Waiting::clear() {
  bytes.clear();
  if (bytes.capacity() > kept_bytes_max) bytes.shrink_to_fit();
  batches.clear();
}

Recovery Store::open(const Log::Visit& visit) {
  Recovery recovery = log_.open(visit);
  appended_ = committed_ = recovery.last_number;
  return recovery;
}

void Store::start(Listener listener) {
  assert(!thread_.joinable());
  listener_ = std::move(listener);
  thread_ = std::thread([this] { run(); });
}

void Store::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  log_.stop_compacting();  // the next start finds the log as it is
  if (thread_.joinable()) thread_.join();
  if (compactor_.joinable()) compactor_.join();
}

std::error_code Store::replace(const Log::Show& show) {
  assert(!thread_.joinable() && idle());
  const std::error_code error = log_.replace(show);
  if (!error) appended_ = committed_ = log_.last_number();
  return error;
}

// --- The processor -------------------------------------------------------------------------------

std::uint64_t Store::append(Batch& batch, bool awaited) {
  assert(!batch.empty());
  figures_.records.add(batch.count());
  const std::uint64_t number = appended_.load(std::memory_order_relaxed) + 1;
  appended_.store(number, std::memory_order_release);
  bool wake = false;
  if (!failed()) {
    std::lock_guard lock(mutex_);
    const std::size_t before = waiting_.bytes.size();
    const Bytes& bytes = batch.bytes();
    waiting_.bytes.insert(waiting_.bytes.end(), bytes.begin(), bytes.end());
    waiting_.batches.push_back({batch.count(), bytes.size()});
    const std::size_t after = waiting_.bytes.size();
    figures_.waiting_bytes.set(after);
    // The thread takes all that waits: it need not be told of each batch.
    wake = before == 0 || (before < write_early_bytes() && after >= write_early_bytes()) ||
           (awaited && !awaited_);
    awaited_ = awaited_ || awaited;
    State state = this->state();
    const std::uint64_t limit = options_.waiting_bytes_max * (state == State::failing ? 1 : 4);
    if (after > limit && state_.compare_exchange_strong(state, State::failed)) {
      waiting_.clear();
      figures_.waiting_bytes.set(0);
      wake = overflowed_ = true;
    }
  }
  batch.clear();
  if (wake) wake_.notify_one();
  return number;
}

void Store::expect() {
  {
    std::lock_guard lock(mutex_);
    if (awaited_ || waiting_.empty()) return;
    awaited_ = true;
  }
  wake_.notify_one();
}

// Rare, at the end of the process: not worth a signal of the thread's.
void Store::wait_while_behind() const {
  while (is_behind() && state() == State::good) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

Trouble Store::trouble() const {
  const State state = this->state();
  if (state == State::good) return Trouble::none;
  const bool no_space = state == State::failing && no_space_.load(std::memory_order_relaxed);
  return no_space ? Trouble::no_space : Trouble::broken;
}

// --- The thread ----------------------------------------------------------------------------------

void Store::run() {
  Waiting batches;
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || overflowed_ || !waiting_.empty(); });
    if (std::exchange(overflowed_, false)) report("store.failed", "too much waits for the disk");
    wait_for_more(lock);
    if (waiting_.empty()) {
      if (stopping_) return;
      continue;
    }
    std::swap(batches, waiting_);
    awaited_ = false;
    figures_.waiting_bytes.set(0);
    lock.unlock();
    if (!failed()) commit(batches);
    batches.clear();
    lock.lock();
  }
}

// With `interval` an answer waits only where the disk failed, or does not keep up.
void Store::wait_for_more(std::unique_lock<std::mutex>& lock) {
  const bool by_interval = options_.durability == Durability::interval;
  wake_.wait_for(lock, by_interval ? options_.interval : options_.unawaited_delay, [this] {
    return stopping_ || overflowed_ || awaited_ || waiting_.bytes.size() >= write_early_bytes();
  });
}

void Store::commit(const Waiting& batches) {
  BytesView bytes(batches.bytes);
  std::uint64_t number = 0;
  for (const Waiting::One& one : batches.batches) {
    number = log_.append(one.records, bytes.first(one.bytes));
    bytes = bytes.subspan(one.bytes);
  }
  const std::size_t written_bytes = log_.appended_bytes();
  const auto started = std::chrono::steady_clock::now();
  if (const auto error = write_until_it_works()) {
    if (!failed()) fail("it ended before it could write: " + error.message());
    return;
  }
  if (const auto error = log_.flush()) return fail("the flush of the store: " + error.message());
  figures_.flush_us.record(microseconds_since(started));
  figures_.flush_batches.record(batches.batches.size());
  figures_.written_bytes.add(written_bytes);
  figures_.flushes.add();
  if (listener_.committed) listener_.committed(number);
  committed_.store(number, std::memory_order_release);  // idle() says that the listener knows
  compact_if_worth_it();
}

// The error that it was left with: the store has failed, or must stop.
std::error_code Store::write_until_it_works() {
  for (;;) {
    const std::error_code error = log_.write();
    if (!error) {
      State failing = State::failing;
      if (state_.compare_exchange_strong(failing, State::good)) report("store.works_again", "");
      return {};
    }
    figures_.write_errors.add();
    no_space_.store(is_no_space(error), std::memory_order_relaxed);
    State good = State::good;
    if (state_.compare_exchange_strong(good, State::failing)) {
      report("store.failing", error.message());
    }
    std::unique_lock lock(mutex_);
    wake_.wait_for(lock, options_.retry_interval, [this] { return stopping_ || failed(); });
    if (stopping_ || failed()) return error;
  }
}

void Store::fail(const std::string& why) {
  state_.store(State::failed, std::memory_order_release);
  report("store.failed", why);
}

void Store::report(std::string event, std::string detail) {
  if (listener_.report) listener_.report(std::move(event), std::move(detail));
}

void Store::compact_if_worth_it() {
  if (compacting_.load(std::memory_order_acquire) || !log_.wants_compaction()) return;
  if (std::chrono::steady_clock::now() < next_compaction_) return;
  if (compactor_.joinable()) compactor_.join();
  log_.seal();
  compacting_.store(true, std::memory_order_relaxed);
  compactor_ = std::thread([this] {
    const auto error = log_.compact();
    if (error && error != std::errc::operation_canceled) {
      report("store.compaction_failed", error.message());
      next_compaction_ = std::chrono::steady_clock::now() + after_failed_compaction;
    }
    compacting_.store(false, std::memory_order_release);
  });
}

}  // namespace millrace::store
