// A copy that is inlined for the sizes of topics and small payloads (up to 128 bytes).
//
// Thread contract: any thread; the caller owns both ranges. They do not overlap.
#pragma once

#include <cstddef>
#include <cstring>
#include <type_traits>

namespace millrace::shm {

// Two copies of a fixed size that overlap in the middle cover every length between them.
inline void copy_bytes(std::byte* to, const void* from_any, std::size_t bytes) {
  const auto* from = static_cast<const std::byte*>(from_any);
  const auto both_ends = [&](auto size) {
    std::byte head[size], tail[size];
    std::memcpy(head, from, size);
    std::memcpy(tail, from + bytes - size, size);
    std::memcpy(to, head, size);
    std::memcpy(to + bytes - size, tail, size);
  };
  if (bytes > 128) {
    std::memcpy(to, from, bytes);
  } else if (bytes > 64) {
    both_ends(std::integral_constant<std::size_t, 64>{});
  } else if (bytes > 32) {
    both_ends(std::integral_constant<std::size_t, 32>{});
  } else if (bytes >= 16) {
    both_ends(std::integral_constant<std::size_t, 16>{});
  } else if (bytes >= 8) {
    both_ends(std::integral_constant<std::size_t, 8>{});
  } else if (bytes >= 4) {
    both_ends(std::integral_constant<std::size_t, 4>{});
  } else {
    for (std::size_t i = 0; i < bytes; ++i) to[i] = from[i];
  }
}

}  // namespace millrace::shm
