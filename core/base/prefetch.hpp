// A cache line asked for ahead of the store to it, so that the store does not wait until another
// core gives the line up.
//
// Thread contract: any thread. Only a hint: the address need not be mapped.
#pragma once

#include <cstddef>
#include <cstdint>

namespace millrace::base {

/// Asks for the cache line `ahead` bytes behind `address`, to be written soon.
inline void prefetch_to_write(const void* address, std::size_t ahead) {
  // As integers: the sum may lie outside the object, which is harmless for a prefetch.
  const auto line = reinterpret_cast<std::uintptr_t>(address) + ahead;
#if defined(__x86_64__)
  // By hand, since the compiler's builtin means a prefetch for reading unless told of the
  // instruction.
  asm volatile("prefetchw (%0)" : : "r"(line));
#else
  __builtin_prefetch(reinterpret_cast<const void*>(line), 1);
#endif
}

}  // namespace millrace::base
