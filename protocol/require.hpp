// A broken invariant of the program, never a fault of a peer, ends it with a message.
#pragma once

namespace millrace::protocol::detail {

[[noreturn]] void broken_invariant(const char* what) noexcept;

inline void require(bool holds, const char* what) noexcept {
  if (!holds) [[unlikely]]
    broken_invariant(what);
}

}  // namespace millrace::protocol::detail
