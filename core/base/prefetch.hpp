// Prefetch for writing: fetches a cache line before the store to it, so that the store does not
// wait for another core to give the line up.
//
// Thread contract: any thread. Only a hint: the address need not be mapped.
#pragma once

#include <cstddef>
#include <cstdint>

namespace millrace::base {

/// Prefetches the cache line at `address + ahead` for a store that follows soon.
inline void prefetch_to_write(const void* address, std::size_t ahead) {
  // Integer arithmetic, since the sum may lie outside the object: harmless for a prefetch,
  // undefined behaviour for a pointer.
  const auto line = reinterpret_cast<std::uintptr_t>(address) + ahead;
#if defined(__x86_64__)
  // Not the compiler's builtin: without -mprfchw it emits a prefetch for reading.
  asm volatile("prefetchw (%0)" : : "r"(line));
#else
  __builtin_prefetch(reinterpret_cast<const void*>(line), 1);
#endif
}

}  // namespace millrace::base
