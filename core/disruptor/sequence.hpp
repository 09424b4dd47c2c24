// A Sequence: how far the producer or a consumer of a ring has come. One writer, many readers.
//
// Thread contract: exactly one thread stores, any thread reads.
// Invariant: it only goes up (except for a pool's worker: see Stage::take). Two sequences never
// share a cache line, nor the adjacent line that the hardware prefetches with it (hence 128 bytes):
// a store to one does not slow down readers of another.
// Source: Thompson et al., "Disruptor" (2011), section 3.2, on false sharing.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/base/cache_line.hpp"

namespace millrace::disruptor {

using base::padding_bytes;

// The sequence before anything was published: the first event has sequence 0.
inline constexpr std::int64_t before_first = -1;

class alignas(padding_bytes) Sequence {
 public:
  explicit Sequence(std::int64_t value = before_first) : value_(value) {}
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;

  // Acquire: pairs with store(), so what the owner did before that store is visible. seq_cst beyond
  // that for a thread that is about to sleep: its second read must not come before its exchange in
  // Parker::sleep_unless().
  std::int64_t look() const { return value_.load(std::memory_order_seq_cst); }

  // The owner's last stored value; for the owner itself.
  std::int64_t own() const { return value_.load(std::memory_order_relaxed); }

  // Release: pairs with look(). `ordered` makes it seq_cst, which also keeps the store before the
  // owner's next seq_cst load: needed where that load checks whether a thread sleeps
  // (Parker::wake).
  void store(std::int64_t value, bool ordered) {
    value_.store(value, ordered ? std::memory_order_seq_cst : std::memory_order_release);
  }

 private:
  std::atomic<std::int64_t> value_;
};

}  // namespace millrace::disruptor
