// require(): aborts the program with a message if one of its own invariants is broken. Never used
// for faults of a peer. Any thread.
#pragma once

namespace millrace::protocol::detail {

[[noreturn]] void broken_invariant(const char* what) noexcept;

inline void require(bool holds, const char* what) noexcept {
  if (!holds) [[unlikely]]
    broken_invariant(what);
}

}  // namespace millrace::protocol::detail
