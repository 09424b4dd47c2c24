// A spin lock for a few instructions: one word, a read-modify-write to take it, a store to leave it.
//
// Who may call it: any thread; what is done under it must be short and must not block.
// Always holds: one thread at a time is inside. A waiting thread gives its core away after a short
// spin, since the one inside may not be running.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/base/pause.hpp"

namespace millrace::latest {

class Gate {
 public:
  /// Acquire: pairs with unlock(). seq_cst on top of it: a thread that then reads something by a
  /// seq_cst load, and another that writes that and then calls taken(), cannot miss each other: the
  /// first sees the write, or the second sees the gate taken or what was done under it.
  void lock() noexcept {
    for (base::SpinThenYield wait; taken_.exchange(1, std::memory_order_seq_cst) != 0;) {
      while (taken_.load(std::memory_order_relaxed) != 0) wait.rest();
    }
  }
  void unlock() noexcept { taken_.store(0, std::memory_order_release); }  // pairs with both others
  [[nodiscard]] bool taken() const noexcept { return taken_.load(std::memory_order_seq_cst) != 0; }

 private:
  std::atomic<std::uint32_t> taken_{0};
};

}  // namespace millrace::latest
