// A queue's wait policy for stress tests: between any two steps that other threads can observe it
// yields, and sometimes sleeps, so that rare interleavings become frequent.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

namespace millrace::queue {

/// A small random generator for each thread (xorshift).
inline std::uint32_t chance() {
  static std::atomic<std::uint32_t> seeds{1};
  thread_local std::uint32_t state = seeds.fetch_add(1) * 2654435769U;
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return state;
}

template <class Wait>
class Descheduled : public Wait {
 public:
  static void step() {
    const std::uint32_t dice = chance() % 1024;
    if (dice == 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    } else if (dice < 64) {
      std::this_thread::yield();
    }
  }
};

}  // namespace millrace::queue
