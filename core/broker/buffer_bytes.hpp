// BufferBytes: the memory of all Buffers of the process, whoever holds them: bytes that are being
// received, commands in the queue, what waits for or is bound to connections, stored values.
//
// A message that a thousand sessions hold is one Buffer, and counted once. Buffers are made and
// freed by any thread; each thread counts in a cache line that few others write to.
//
// Threads: any.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/base/cache_line.hpp"

namespace millrace::broker {

class BufferBytes {
 public:
  static void add(std::uint64_t bytes) { mine().fetch_add(bytes, std::memory_order_relaxed); }
  static void subtract(std::uint64_t bytes) { mine().fetch_sub(bytes, std::memory_order_relaxed); }

  // Of about now: buffers may come and go while the shares are added up.
  static std::uint64_t total() {
    std::uint64_t sum = 0;  // shares wrap around: one thread makes what another one frees
    for (const Share& share : shares_) sum += share.bytes.load(std::memory_order_relaxed);
    return static_cast<std::uint64_t>(std::max<std::int64_t>(0, static_cast<std::int64_t>(sum)));
  }

 private:
  struct alignas(base::padding_bytes) Share {
    std::atomic<std::uint64_t> bytes;
  };
  static constexpr std::size_t share_count = 16;

  static std::atomic<std::uint64_t>& mine() {
    thread_local const std::size_t at = next_.fetch_add(1, std::memory_order_relaxed) % share_count;
    return shares_[at].bytes;
  }

  inline static std::array<Share, share_count> shares_;
  inline static std::atomic<std::size_t> next_{0};
};

}  // namespace millrace::broker
