// Busy waiting: what a thread does between two checks of a condition that another thread will make
// true, without sleeping.
//
// Thread contract: any thread; a Backoff or SpinThenYield belongs to the one thread that waits.
#pragma once

#include <sched.h>

namespace millrace::base {

/// Tells the CPU that this is a spin loop: the core's other hardware thread gets the execution
/// units, and leaving the loop costs no memory-order misprediction. Takes some 5 to 50 ns.
inline void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  // `yield` does nothing on most cores; `isb` stalls for about as long as x86's pause does.
  asm volatile("isb" ::: "memory");
#else
  asm volatile("" ::: "memory");
#endif
}

inline void pause(int times) noexcept {
  for (int i = 0; i < times; ++i) pause();
}

/// Exponential back-off: waits twice as long each time, up to a limit. A thread that reads a cache
/// line too often takes it away from the thread that is to write it.
class Backoff {
 public:
  explicit Backoff(int pauses_max) noexcept : pauses_max_(pauses_max) {}
  void rest() noexcept {
    pause(pauses_);
    if (pauses_ < pauses_max_) pauses_ *= 2;
  }

 private:
  int pauses_ = 1;
  int pauses_max_;
};

/// Spins briefly, then yields the core: the thread that is waited for may not be running.
class SpinThenYield {
 public:
  void rest() noexcept {
    if (++rounds_ < kSpins) {
      pause();
    } else {
      ::sched_yield();
    }
  }

 private:
  static constexpr unsigned kSpins = 64;
  unsigned rounds_ = 0;
};

}  // namespace millrace::base
