// A publisher ring: a local publisher's own ring into the server.
//
// The client writes frames and rings the wake-up at the control socket if the server sleeps; the server copies
// each frame out before it looks at it, since the client can change it at any moment.
//
// Thread contract: LaneWriter belongs to one thread of the client, LaneReader to one of the server.
// What holds: nothing the client writes makes the server read outside the publisher ring or trust a length
// twice; a full publisher ring is `full` to the publisher, and nothing accepted is lost while both live.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "core/shm/ring/layout.hpp"
#include "core/shm/ring/memory.hpp"

namespace millrace::shm {

struct PublisherRingOptions {
  std::uint64_t epoch = 1;
  std::size_t data_bytes = std::size_t{256} << 10;  // a power of two, at least a page
  std::size_t frame_bytes_max = 64 * 1024;          // at most a quarter of data_bytes
};

enum class PublisherRingResult : std::uint8_t { taken, full, too_large };

// A publish as it came out of a publisher ring: a copy, in memory of the reader's own.
struct PublisherRingMessage {
  std::string_view topic;
  std::span<const std::byte> payload;
  std::uint8_t flags = 0;
};

class PublisherRingReader {
 public:
  static std::unique_ptr<PublisherRingReader> make(const PublisherRingOptions& options);

  int publisher_ring_fd() const { return publisher_ring_fd_.get(); }
  int control_fd() const { return control_fd_.get(); }

  enum class Drained : std::uint8_t { empty, more, faulty };

  // Hands up to `count_max` messages to take(LaneMessage), which returns whether it was accepted.
  // `faulty`: the client broke its own publisher ring; close the connection.
  template <class Take>
  Drained drain(std::size_t count_max, Take&& take) {
    for (std::size_t i = 0; i < count_max; ++i) {
      PublisherRingMessage message;
      const Drained result = copy_next(message);
      if (result != Drained::more) return finish(result);
      if (!take(message)) ++refused_;
    }
    return finish(Drained::more);
  }

  // About to wait for the wake-up: from now on the client rings. False when there is work after all.
  bool go_to_sleep();
  void wake_up();

  std::uint64_t taken() const { return taken_; }
  std::uint64_t refused() const { return refused_; }

 private:
  PublisherRingReader(const PublisherRingOptions& options, UniqueFd publisher_ring_fd,
                      UniqueFd control_fd, Mapping publisher_ring, Mapping control);
  Drained copy_next(PublisherRingMessage& message);
  Drained finish(Drained result);

  const PublisherRingOptions options_;
  UniqueFd publisher_ring_fd_;
  UniqueFd control_fd_;
  Mapping publisher_ring_mapping_;  // read-only: nothing here is the server's to write
  Mapping control_mapping_;         // the server's own
  const PublisherRingHeader* const publisher_ring_;
  PublisherRingControl* const control_;
  std::uint64_t head_ = 0;
  std::uint64_t tail_ = 0;  // as last seen, and checked
  std::vector<std::byte> copy_;
  std::uint64_t taken_ = 0;
  std::uint64_t refused_ = 0;
};

class PublisherRingWriter {
 public:
  // Maps what the control socket handed out. Returns what is wrong, or nullptr.
  const char* open(int publisher_ring_fd, int control_fd);

  // Visible only after flush().
  PublisherRingResult put(std::string_view topic, std::span<const std::byte> payload,
                          std::uint8_t flags);

  // Shows what was put. True: the server sleeps and was not told yet, so ring the wake-up.
  bool flush();

  // Has the server taken everything that was flushed?
  bool is_drained() const { return control_->head.load(std::memory_order_acquire) >= released_; }
  std::uint64_t refused() const { return control_->refused.load(std::memory_order_relaxed); }
  std::uint64_t epoch() const { return control_->epoch; }

 private:
  Mapping publisher_ring_mapping_;
  Mapping control_mapping_;
  PublisherRingHeader* publisher_ring_ = nullptr;
  const PublisherRingControl* control_ = nullptr;
  std::byte* data_ = nullptr;
  std::uint64_t mask_ = 0;
  std::uint64_t tail_ = 0;
  std::uint64_t released_ = 0;
  std::uint64_t head_ = 0;  // as last seen
  std::uint64_t sequence_ = 0;
  std::uint32_t rung_for_ = 0;  // the sleep that was already rung for
};

}  // namespace millrace::shm
