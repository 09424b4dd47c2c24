// Fences, in one place: ThreadSanitizer does not understand atomic_thread_fence (gcc 12 refuses it
// under -Werror), so its builds use a read-modify-write, which orders at least as much.
//
// Thread contract: any thread.
#pragma once

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>

namespace millrace::shm {

#if defined(__SANITIZE_THREAD__)
namespace detail {
inline std::atomic<int> fence_word{0};
}
inline void acquire_fence() {
  detail::fence_word.fetch_add(0, std::memory_order_acq_rel);
}
inline void full_fence() {
  detail::fence_word.fetch_add(0, std::memory_order_seq_cst);
}
#else
inline void acquire_fence() {
  std::atomic_thread_fence(std::memory_order_acquire);
}
inline void full_fence() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
}
#endif

// A fence between a store and a load that costs the frequent side nothing: the rare side makes the
// system put one into every thread of the processes that registered. Source: membarrier(2),
// MEMBARRIER_CMD_GLOBAL_EXPEDITED (Linux 4.16).
//
//   frequent  store(a); light_fence(); load(b)        rare  store(b); heavy_fence(); load(a)

// Registers this process as one with a frequent side. False: the system does not offer it.
inline bool register_light_fences() {
  static const bool done =
      ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
  return done;
}
inline void light_fence() {
  std::atomic_signal_fence(std::memory_order_seq_cst);  // the compiler keeps the order too
}
// False: the system refuses, so nothing is ordered.
inline bool heavy_fence() {
  return ::syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) == 0;
}

}  // namespace millrace::shm
