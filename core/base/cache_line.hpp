// The distance that two variables need so that threads which write them do not slow each other down
// (false sharing).
#pragma once

#include <cstddef>

namespace millrace::base {

/// Two lines of 64 bytes: x86 fetches them in pairs, and some ARM cores have lines of 128 bytes.
inline constexpr std::size_t padding_bytes = 128;

}  // namespace millrace::base
