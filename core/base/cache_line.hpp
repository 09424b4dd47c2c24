// How far apart two variables must be so that their writers do not disturb each other.
#pragma once

#include <cstddef>

namespace millrace::base {

/// Two lines of 64 bytes: x86 fetches them in pairs, and some ARM cores have lines of 128 bytes.
inline constexpr std::size_t padding_bytes = 128;

}  // namespace millrace::base
