// What an allocation takes of the process's memory: the bytes that were asked for, malloc's header,
// rounded up. As glibc does it for all but the largest, which take whole pages.
//
// Threads: a pure function.
#pragma once

#include <algorithm>
#include <cstdint>

namespace millrace::base {

constexpr std::uint64_t malloc_bytes(std::uint64_t asked) {
  return std::max<std::uint64_t>(32, (asked + 8 + 15) / 16 * 16);
}

}  // namespace millrace::base
