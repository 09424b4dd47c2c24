// A Sequence: how far one party of a ring has come. One writer, many readers.
//
// Thread contract: exactly one thread stores, any thread looks.
// What holds: it only goes up (except that of a pool's worker: see Stage::take). Two sequences never
// share a cache line, nor the neighbouring line that the hardware prefetches with it (hence 128
// bytes): a store of one does not slow down those who read another.
// Source: Thompson et al., "Disruptor" (2011), section 3.2, the effects of sharing.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/base/cache_line.hpp"

namespace millrace::disruptor {

using base::padding_bytes;

// Nothing was published yet: the first event has sequence 0.
inline constexpr std::int64_t before_first = -1;

class alignas(padding_bytes) Sequence {
 public:
  explicit Sequence(std::int64_t value = before_first) : value_(value) {}
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;

  // Acquire: pairs with store(), so what the owner did before that store is visible. seq_cst on top
  // of it for the second look of a thread that is about to sleep, which must not come before its
  // exchange in Parker::sleep_unless().
  std::int64_t look() const { return value_.load(std::memory_order_seq_cst); }

  // What the owner itself stored last.
  std::int64_t own() const { return value_.load(std::memory_order_relaxed); }

  // Release: pairs with look(). `ordered` makes it seq_cst, which also keeps the store before the
  // owner's next seq_cst load: needed where that load asks whether somebody sleeps (Parker::wake).
  void store(std::int64_t value, bool ordered) {
    value_.store(value, ordered ? std::memory_order_seq_cst : std::memory_order_release);
  }

 private:
  std::atomic<std::int64_t> value_;
};

}  // namespace millrace::disruptor
