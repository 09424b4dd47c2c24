// RingWriter: the writer of one ring that any number of local processes read.
//
//     writer.append(topic, payload, flags, time_ns);   // for each message of a batch
//     writer.release(now_ns);                          // once: readers see the batch
//
// The gate of a lossless ring is the position of its slowest reader: nothing above it is
// overwritten.
//
// Thread contract: one thread at a time (the processor's role). Only ConsumerPage::lift may be
// called by other threads.
// Invariants:
// - the writer never waits, and makes no system call unless a reader sleeps;
// - readers see whole frames below the released tail; before a byte is overwritten, `intent` has
//   been advanced past it;
// - lossy: no reader delays the writer. lossless: what an attached reader has not released is not
//   overwritten; frames without room wait in the overflow, in order, and when that is full, or the
//   slowest reader has made no progress for its lease, that reader is evicted;
// - every append uses one sequence, also that of an oversize message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "core/base/prefetch.hpp"
#include "core/shm/ring/consumer_page.hpp"
#include "core/shm/ring/copy.hpp"
#include "core/shm/ring/layout.hpp"
#include "core/shm/ring/memory.hpp"

namespace millrace::shm {

struct RingOptions {
  std::uint64_t ring_id = 1;
  std::uint64_t epoch = 1;
  std::size_t data_bytes = std::size_t{1} << 20;  // a power of two, at least page_bytes
  std::size_t frame_bytes_max = 64 * 1024;        // at most a quarter of data_bytes
  bool lossless = false;
  std::size_t overflow_bytes_max = 8 * 1024 * 1024;
  std::uint64_t lease_ns = 5'000'000'000;
  std::size_t system_page = 0;  // for tests: as on a system with larger pages than this one's
};

struct RingStats {
  std::uint64_t position = 0;  // bytes written since the ring was made
  std::uint64_t sequence = 0;  // messages appended
  std::uint64_t oversize = 0;  // of them, replaced by a marker
  std::uint64_t lapped = 0;    // overwritten before a reader had read them, as the readers count
  std::uint64_t evictions = 0;
  std::uint64_t wakes = 0;          // system calls made to wake a sleeper
  std::uint64_t lag_max_bytes = 0;  // of the slowest reader
  std::size_t readers = 0;
  std::size_t overflow_frames = 0;
  std::size_t overflow_bytes = 0;
  std::size_t data_bytes = 0;
};

struct Evicted {
  std::uint64_t consumer_id;
  Eviction reason;
};

struct Attachment {
  std::shared_ptr<ConsumerPage> consumer_page;
  std::uint64_t position = 0;  // where it starts, and the sequence of the frame there
  std::uint64_t sequence = 0;
};

class RingWriter {
 public:
  // Null when the options are inconsistent or the system refuses the memory.
  static std::unique_ptr<RingWriter> make(const RingOptions& options);
  RingWriter(const RingWriter&) = delete;
  RingWriter& operator=(const RingWriter&) = delete;

  void append(std::string_view topic, std::span<const std::byte> payload, std::uint8_t flags,
              std::uint64_t time_ns) {
    const std::uint64_t bytes = frame_bytes(topic.size(), payload.size());
    if (topic.size() <= UINT16_MAX && bytes <= options_.frame_bytes_max && overflow_.empty() &&
        reserve(bytes)) [[likely]] {
      write(message_header(topic, payload, flags, time_ns), topic, payload, bytes);
    } else {
      append_slowly(topic, payload, flags, time_ns);
    }
  }

  // Makes the batch visible, moves frames from the overflow into the ring, ends leases, and wakes
  // each sleeping reader once.
  void release(std::uint64_t now_ns);

  // Attaches a reader, after those that it is to follow. In a lossless ring frames above its
  // position are kept from now on. The result has no consumer page if the system refuses the memory
  // for it.
  Attachment add_reader(std::uint64_t consumer_id, bool from_oldest, std::uint64_t now_ns,
                        bool has_wake_pipe = false, bool is_follower = false);
  void remove_reader(std::uint64_t consumer_id);
  std::size_t reader_count() const { return consumer_pages_.size(); }

  // Checks every position page and collects counts; to be called from time to time, so that a
  // reader of a lossy ring is evicted too if its page is invalid.
  void inspect(std::uint64_t now_ns);

  // The consumers evicted since the last call.
  std::vector<Evicted> take_evicted();

  // Evicts every reader, for the reason ring_closed.
  void close();

  int fd() const { return fd_.get(); }
  std::uint64_t tail() const { return released_; }
  std::uint64_t next_sequence() const { return next_sequence_; }
  const RingOptions& options() const { return options_; }
  // Whether a frame of this size would go into the ring now, rather than into the overflow. For
  // writers that can wait (tests and benchmarks); the server's processor does not call it.
  bool has_room(std::size_t topic_bytes, std::size_t payload_bytes) {
    return overflow_.empty() && reserve(frame_bytes(topic_bytes, payload_bytes));
  }
  bool has_overflow() const { return !overflow_.empty(); }
  RingStats stats() const;

 private:
  RingWriter(const RingOptions& options, UniqueFd fd, Mapping mapping, std::byte* data);

  bool reserve(std::uint64_t bytes) {
    return tail_ + bytes <= intent_ || advance_intent(tail_ + bytes);
  }
  bool advance_intent(std::uint64_t end);
  void append_slowly(std::string_view topic, std::span<const std::byte> payload, std::uint8_t flags,
                     std::uint64_t time_ns);

  FrameHeader message_header(std::string_view topic, std::span<const std::byte> payload,
                             std::uint8_t flags, std::uint64_t time_ns) {
    return {static_cast<std::uint32_t>(payload.size()),
            static_cast<std::uint16_t>(topic.size()),
            FrameKind::message,
            flags,
            next_sequence_++,
            time_ns};
  }

  static constexpr std::size_t prefetch_bytes = 2048;

  // Writes a frame into space that reserve() has granted.
  void write(const FrameHeader& header, std::string_view topic, std::span<const std::byte> payload,
             std::uint64_t bytes) {
    if (tail_ >= next_block_start_) note_blocks();
    std::byte* at = data_ + (tail_ & mask_);
    // The cache lines are in the readers' caches: fetch them some frames before they are written.
    base::prefetch_to_write(at, prefetch_bytes);
    base::prefetch_to_write(at, prefetch_bytes + 64);
    store_header(at, header);
    copy_bytes(at + sizeof header, topic.data(), topic.size());
    copy_bytes(at + sizeof header + topic.size(), payload.data(), payload.size());
    tail_ += bytes;
  }
  void note_blocks();
  bool gate_allows(std::uint64_t lowest);
  std::optional<std::uint64_t> look_at_gate();
  void to_overflow(const FrameHeader& header, std::string_view topic,
                   std::span<const std::byte> payload);
  void flush_overflow();
  void end_leases();
  void make_overflow_room(std::size_t bytes);
  void evict(std::size_t consumer_page, Eviction reason);
  template <class Which>
  void drop_consumer_pages(Which which);
  void publish_tail();

  const RingOptions options_;
  UniqueFd fd_;
  Mapping mapping_;
  RingHeader* const header_;
  std::byte* const data_;
  const std::uint64_t mask_;
  const std::uint64_t block_bytes_;

  std::uint64_t tail_ = 0;      // written
  std::uint64_t released_ = 0;  // the tail that readers see
  std::uint64_t intent_ = 0;
  std::uint64_t gate_ = 0;  // lossless: the lowest position of all readers when last read
  std::uint64_t next_sequence_ = 1;
  std::uint64_t now_ns_ = 0;

  // The first frame that starts in each of the last blocks, for `oldest`.
  std::vector<std::uint64_t> first_in_block_;
  std::uint64_t next_block_ = 0;
  std::uint64_t next_block_start_ = 0;

  std::deque<std::vector<std::byte>> overflow_;  // whole frames
  std::size_t overflow_bytes_ = 0;
  std::uint64_t overflow_since_ns_ = 0;

  std::vector<std::shared_ptr<ConsumerPage>> consumer_pages_;
  std::vector<Evicted> evicted_;
  std::uint64_t oversize_ = 0;
  std::uint64_t lapped_ = 0;
  std::uint64_t evictions_ = 0;
  std::uint64_t wakes_ = 0;
};

}  // namespace millrace::shm
