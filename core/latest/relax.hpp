// A moment's pause inside a spin loop: lets the other hardware thread and the cache line's owner
// work.
#pragma once

#include <sched.h>

namespace millrace::latest {

inline void relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  sched_yield();
#endif
}

/// Spins briefly, then gives the core away: whoever is waited for may not be running.
class Backoff {
 public:
  void pause() noexcept {
    if (++rounds_ < kSpins) {
      relax();
    } else {
      sched_yield();
    }
  }

 private:
  static constexpr unsigned kSpins = 64;
  unsigned rounds_ = 0;
};

}  // namespace millrace::latest
