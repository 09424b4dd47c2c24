// A counter that costs its writer an ordinary load and store.
//
// Thread contract: one writing thread at a time (ordered hand-over), any number of readers. An
// increment is a relaxed load and a relaxed store, never a locked instruction. A reader gets a
// recent value of each counter; values of several counters need not be of the same moment.
#pragma once

#include <atomic>
#include <cstdint>

namespace millrace::base {

class Counter {
 public:
  void add(std::uint64_t amount = 1) noexcept { set(value() + amount); }
  void subtract(std::uint64_t amount = 1) noexcept { set(value() - amount); }  // shown as a gauge
  void set(std::uint64_t value) noexcept { value_.store(value, std::memory_order_relaxed); }
  std::uint64_t value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

}  // namespace millrace::base
