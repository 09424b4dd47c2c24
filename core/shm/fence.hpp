// Fences, in one place: ThreadSanitizer does not understand atomic_thread_fence (gcc 12 refuses it
// under -Werror), so its builds use a read-modify-write, which orders at least as much.
//
// Thread contract: any thread.
#pragma once

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

}  // namespace millrace::shm
