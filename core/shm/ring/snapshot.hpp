// Snapshot: frames of the newest values, for a reader that starts at `latest`.
//
// Thread contract: one thread (the processor's role).
// What holds: the memory is sealed before it leaves; it takes no more than it holds, and what one
// add() costs does not grow with what was added before.
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

  // False: there is no room for one more, or the system refuses the memory.
  bool add(std::string_view topic, std::span<const std::byte> payload, std::uint8_t flags,
           std::uint64_t time_ns);
  std::size_t bytes() const { return bytes_; }

  // The frames, and nothing behind them. Empty if there are none, or the system refuses.
  UniqueFd take_memory();

 private:
  bool open();

  std::size_t bytes_max_;
  std::size_t bytes_ = 0;
  UniqueFd fd_;  // as large as may be needed: the system gives pages only as they are written
  Mapping mapping_;
};

}  // namespace millrace::shm
