// A snapshot of the newest values, as frames in a separate memory, for a reader that starts at
// `latest`.
//
// Thread contract: one thread (the processor's role).
// Invariants: the memory is sealed before its descriptor leaves; it occupies no more than what was
// added, and the cost of add() does not depend on what was added before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/shm/ring/memory.hpp"

namespace millrace::shm {

class Snapshot {
 public:
  explicit Snapshot(std::size_t bytes_max) : bytes_max_(bytes_max) {}

  // False: it would exceed bytes_max, or the system refuses the memory.
  bool add(std::string_view topic, std::span<const std::byte> payload, std::uint8_t flags,
           std::uint64_t time_ns);
  std::size_t bytes() const { return bytes_; }

  // The memory, truncated to its frames. Empty if there are none, or the system refuses.
  UniqueFd take_memory();

 private:
  bool open();

  std::size_t bytes_max_;
  std::size_t bytes_ = 0;
  UniqueFd fd_;  // of bytes_max_, sparse: pages are allocated as they are written
  Mapping mapping_;
};

}  // namespace millrace::shm
