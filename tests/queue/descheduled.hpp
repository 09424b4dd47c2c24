// A queue's waiting policy for stress tests: it yields, and now and then sleeps, between any two
// steps that others can observe, so that interleavings that are rare elsewhere come often.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

namespace millrace::queue {

/// A small generator of its own for each thread (xorshift).
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
