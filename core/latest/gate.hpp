// A gate for a few instructions: one word, one read-modify-write to pass, nothing to leave.
//
// Who may call it: any thread; what is behind the gate must be short and must not block.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/base/pause.hpp"

namespace millrace::latest {

class Gate {
 public:
  /// Sequentially consistent, besides acquiring what the last one left: who has passed may be sure
  /// that everybody who comes to look later sees the gate taken, or what was done behind it.
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
