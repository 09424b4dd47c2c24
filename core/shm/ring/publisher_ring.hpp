// The ring of a local publisher: its process writes frames, the server takes them out.
//
// The client writes frames and, if the server sleeps, sends a wake-up to the control socket. The
// server copies each frame before it checks it, since the client can change the ring at any moment.
//
// Thread contract: PublisherRingWriter belongs to one thread of the client, PublisherRingReader to
// one thread of the server.
// Invariants: whatever the client writes, the server reads nothing outside the ring and loads each
// length once; the publisher is told when the ring is full; what was accepted is not lost as long
// as both processes live.
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
  std::size_t data_bytes = std::size_t{256} << 10;  // a power of two, at least page_bytes
  std::size_t frame_bytes_max = 64 * 1024;          // at most a quarter of data_bytes
  std::size_t system_page = 0;  // for tests: as on a system with larger pages than this one's
};

enum class PublisherRingResult : std::uint8_t { taken, full, too_large };

// A message taken out of a publisher ring: a copy in the server's own memory.
struct PublisherRingMessage {
  std::string_view topic;
  std::span<const std::byte> payload;
  std::uint8_t flags = 0;
};

class PublisherRingReader {
 public:
  // Null when the options are inconsistent or the system refuses the memory.
  static std::unique_ptr<PublisherRingReader> make(const PublisherRingOptions& options);

  int ring_fd() const { return ring_fd_.get(); }
  int control_fd() const { return control_fd_.get(); }

  enum class Drained : std::uint8_t { empty, more, faulty };

  // Passes up to `count_max` messages to take(const PublisherRingMessage&), which returns whether
  // the message was accepted. `faulty`: the ring's content is invalid; close the connection.
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

  // To be called before waiting for a wake-up: from now on the client sends one when it publishes.
  // False if there are messages to drain already.
  bool go_to_sleep();
  void wake_up();

  std::uint64_t taken() const { return taken_; }
  std::uint64_t refused() const { return refused_; }

 private:
  PublisherRingReader(const PublisherRingOptions& options, UniqueFd ring_fd, UniqueFd control_fd,
                      Mapping ring, Mapping control, const std::byte* data);
  Drained copy_next(PublisherRingMessage& message);
  Drained finish(Drained result);

  const PublisherRingOptions options_;
  UniqueFd ring_fd_;
  UniqueFd control_fd_;
  Mapping ring_mapping_;     // read-only
  Mapping control_mapping_;  // written by the server alone
  const PublisherRingHeader* const header_;
  PublisherRingControl* const control_;
  const std::byte* const data_;  // what the client writes as the header's size has no effect
  std::uint64_t head_ = 0;
  std::uint64_t tail_ = 0;  // as last seen, and checked
  std::vector<std::byte> copy_;
  std::uint64_t taken_ = 0;
  std::uint64_t refused_ = 0;
};

class PublisherRingWriter {
 public:
  // Maps the descriptors that the control socket handed over. Returns what is wrong, or nullptr.
  const char* open(int ring_fd, int control_fd);

  // The message is visible to the server only after flush().
  PublisherRingResult put(std::string_view topic, std::span<const std::byte> payload,
                          std::uint8_t flags);

  // Makes the messages put so far visible. True: the server sleeps, so send it a wake-up.
  bool flush();

  // Whether the server has taken everything that was flushed.
  bool is_drained() const { return control_->head.load(std::memory_order_acquire) >= released_; }
  std::uint64_t refused() const { return control_->refused.load(std::memory_order_relaxed); }
  std::uint64_t epoch() const { return control_->epoch; }
  std::uint64_t frame_bytes_max() const { return header_->frame_bytes_max; }

 private:
  Mapping ring_mapping_;
  Mapping control_mapping_;
  PublisherRingHeader* header_ = nullptr;
  const PublisherRingControl* control_ = nullptr;
  std::byte* data_ = nullptr;
  std::uint64_t mask_ = 0;
  std::uint64_t tail_ = 0;
  std::uint64_t released_ = 0;
  std::uint64_t head_ = 0;  // as last seen
  std::uint64_t sequence_ = 0;
  std::uint32_t woken_for_ = 0;  // the value of `sleeping` for which a wake-up was already sent
};

}  // namespace millrace::shm
