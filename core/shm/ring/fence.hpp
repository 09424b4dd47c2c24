// The fences of shared memory. ThreadSanitizer does not support atomic_thread_fence (gcc 12 warns
// about it), so its builds use a read-modify-write operation, which orders at least as much.
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

// An asymmetric fence between a store and a load, for two sides that each store one word and load
// the other's. It costs the frequent side nothing: the rare side's system call executes a full
// fence on every running thread of the processes that registered, and a thread that is not running
// passes one when it is scheduled. So it holds on every architecture, also on those where a store
// may be delayed past later loads and the other way round. Source: membarrier(2),
// MEMBARRIER_CMD_GLOBAL_EXPEDITED (Linux 4.16).
//
//   frequent  store(a); light_fence(); load(b)        rare  store(b); heavy_fence(); load(a)
//
// At least one of the two loads sees the other side's store.

// Registers this process as one that has the frequent side. False: the system does not offer it.
inline bool register_light_fences() {
  static const bool done =
      ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
  return done;
}
inline void light_fence() {
  std::atomic_signal_fence(std::memory_order_seq_cst);  // for the compiler; the rest is heavy_fence
}
// False: the system refuses the call; then nothing is ordered.
inline bool heavy_fence() {
  return ::syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) == 0;
}

}  // namespace millrace::shm
