// A Sequence: how far one party of a ring has come. One writer, many readers.
//
// Thread contract: exactly one thread stores, any thread looks. It goes up (but for the worker of a
// pool, which lowers its own while it takes: see Stage::take).
// What holds: two sequences never share a cache line, nor the neighbouring line that the hardware
// prefetches with it (hence 128 bytes), so that parties disturb each other only through values.
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

  // Sees everything that its owner did before the store it reads. seq_cst rather than acquire, for
  // the second look of one who is about to sleep (Parker::sleep_unless); on x86 they cost the same.
  std::int64_t look() const { return value_.load(std::memory_order_seq_cst); }

  // What the owner itself stored last.
  std::int64_t own() const { return value_.load(std::memory_order_relaxed); }

  // Pairs with look(). `ordered` also keeps the store ahead of the owner's next load: needed where
  // the owner goes on to ask whether anybody sleeps (Parker::wake).
  void store(std::int64_t value, bool ordered) {
    value_.store(value, ordered ? std::memory_order_seq_cst : std::memory_order_release);
  }

 private:
  std::atomic<std::int64_t> value_;
};

}  // namespace millrace::disruptor
