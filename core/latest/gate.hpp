// A spin lock for a few instructions: one word, a read-modify-write to lock, a store to unlock.
//
// Thread contract: any thread; the critical section must be short and must not block.
// Invariant: one thread at a time holds it. A waiting thread yields its core after a short spin,
// since the holder may not be running.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/base/pause.hpp"

namespace millrace::latest {

class Gate {
 public:
  /// Acquire: pairs with unlock(). seq_cst beyond that: if thread A locks and then reads a variable
  /// by a seq_cst load, and thread B writes that variable (seq_cst) and then calls taken(), then A
  /// sees the write, or B sees the gate taken or the effects of what A did under it.
  void lock() noexcept {
    for (base::SpinThenYield wait; taken_.exchange(1, std::memory_order_seq_cst) != 0;) {
      while (taken_.load(std::memory_order_relaxed) != 0) wait.rest();
    }
  }
  // Release: pairs with lock() and taken().
  void unlock() noexcept { taken_.store(0, std::memory_order_release); }
  [[nodiscard]] bool taken() const noexcept { return taken_.load(std::memory_order_seq_cst) != 0; }

 private:
  std::atomic<std::uint32_t> taken_{0};
};

}  // namespace millrace::latest
