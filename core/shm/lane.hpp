// A lane: a local publisher's own ring into the server.
//
// The client writes frames and rings the bell at the door if the server sleeps; the server copies
// each frame out before it looks at it, since the client can change it at any moment.
//
// Thread contract: LaneWriter belongs to one thread of the client, LaneReader to one of the server.
// What holds: nothing the client writes makes the server read outside the lane or trust a length
// twice; a full lane is `full` to the publisher, and nothing accepted is lost while both live.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "core/shm/layout.hpp"
#include "core/shm/memory.hpp"

namespace millrace::shm {

struct LaneOptions {
  std::uint64_t epoch = 1;
  std::size_t data_bytes = std::size_t{256} << 10;  // a power of two, at least a page
  std::size_t frame_bytes_max = 64 * 1024;          // at most a quarter of data_bytes
};

enum class LaneResult : std::uint8_t { taken, full, too_large };

// A publish as it came out of a lane: a copy, in memory of the reader's own.
struct LaneMessage {
  std::string_view topic;
  std::span<const std::byte> payload;
  std::uint8_t flags = 0;
};

class LaneReader {
 public:
  static std::unique_ptr<LaneReader> make(const LaneOptions& options);

  int lane_fd() const { return lane_fd_.get(); }
  int control_fd() const { return control_fd_.get(); }

  enum class Drained : std::uint8_t { empty, more, faulty };

  // Hands up to `count_max` messages to take(LaneMessage), which returns whether it was accepted.
  // `faulty`: the client broke its own lane; close the connection.
  template <class Take>
  Drained drain(std::size_t count_max, Take&& take) {
    for (std::size_t i = 0; i < count_max; ++i) {
      LaneMessage message;
      const Drained result = copy_next(message);
      if (result != Drained::more) return finish(result);
      if (!take(message)) ++refused_;
    }
    return finish(Drained::more);
  }

  // About to wait for the bell: from now on the client rings. False when there is work after all.
  bool go_to_sleep();
  void wake_up();

  std::uint64_t taken() const { return taken_; }
  std::uint64_t refused() const { return refused_; }

 private:
  LaneReader(const LaneOptions& options, UniqueFd lane_fd, UniqueFd control_fd, Mapping lane,
             Mapping control);
  Drained copy_next(LaneMessage& message);
  Drained finish(Drained result);

  const LaneOptions options_;
  UniqueFd lane_fd_;
  UniqueFd control_fd_;
  Mapping lane_mapping_;     // read-only: nothing here is the server's to write
  Mapping control_mapping_;  // the server's own
  const LaneHeader* const lane_;
  LaneControl* const control_;
  std::uint64_t head_ = 0;
  std::uint64_t tail_ = 0;  // as last seen, and checked
  std::vector<std::byte> copy_;
  std::uint64_t taken_ = 0;
  std::uint64_t refused_ = 0;
};

class LaneWriter {
 public:
  // Maps what the door handed out. Returns what is wrong, or nullptr.
  const char* open(int lane_fd, int control_fd);

  // Visible only after flush().
  LaneResult put(std::string_view topic, std::span<const std::byte> payload, std::uint8_t flags);

  // Shows what was put. True: the server sleeps and was not told yet, so ring the bell.
  bool flush();

  // Has the server taken everything that was flushed?
  bool is_drained() const { return control_->head.load(std::memory_order_acquire) >= released_; }
  std::uint64_t refused() const { return control_->refused.load(std::memory_order_relaxed); }
  std::uint64_t epoch() const { return control_->epoch; }

 private:
  Mapping lane_mapping_;
  Mapping control_mapping_;
  LaneHeader* lane_ = nullptr;
  const LaneControl* control_ = nullptr;
  std::byte* data_ = nullptr;
  std::uint64_t mask_ = 0;
  std::uint64_t tail_ = 0;
  std::uint64_t released_ = 0;
  std::uint64_t head_ = 0;  // as last seen
  std::uint64_t sequence_ = 0;
  std::uint32_t rung_for_ = 0;  // the sleep that was already rung for
};

}  // namespace millrace::shm
