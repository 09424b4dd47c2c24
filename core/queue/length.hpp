// How many items stand between two positions that other threads move: len() of the queues.
//
// Threads: any.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace millrace::queue {

/// The number of items at some moment during the call. `head` never passes `tail`; whoever stores it
/// has seen that tail, and stores with release. `Wait::step()` is where a test may let others run.
template <class Wait>
std::size_t length_between(const std::atomic<std::uint64_t>& head,
                           const std::atomic<std::uint64_t>& tail) {
  // The head twice: if it stood still while the tail was read, the difference was the length at that
  // moment. A tail with a head of another moment would make a queue look empty that never is. For
  // the consumer the head always stands still. Acquire keeps the loads in order.
  std::uint64_t first = head.load(std::memory_order_acquire);
  for (;;) {
    Wait::step();
    const std::uint64_t end = tail.load(std::memory_order_acquire);
    Wait::step();
    const std::uint64_t again = head.load(std::memory_order_acquire);
    if (again == first) return end - first;
    first = again;
  }
}

}  // namespace millrace::queue
