// The reader of a ring in another process: it returns frames in place and validates them
// afterwards.
//
//     RingReader::Frame frame;
//     while (reader.next(frame)) use(frame);       // frame points into shared memory
//     bool intact = reader.release();              // the frames may be overwritten from here on
//     reader.wait(...);
//
// Thread contract: one thread. stop_waiting() may be called from another.
// Invariants: it reads only below min(tail, positions of its predecessors), and returns a frame
// only after checking that the writer had not announced to overwrite it. A lapped reader of a lossy
// ring continues at the oldest frame; `missed` is the difference of sequences. In a lossless ring a
// reader never gets a frame from behind a gap. Nothing is copied or allocated, and no system call
// is made unless the reader sleeps.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "core/base/futex.hpp"
#include "core/base/pause.hpp"
#include "core/base/wait.hpp"
#include "core/shm/ring/fence.hpp"
#include "core/shm/ring/layout.hpp"
#include "core/shm/ring/memory.hpp"

namespace millrace::shm {

// Another consumer of the same ring: its position page, mapped read-only.
struct Neighbour {
  std::uint64_t consumer_id = 0;
  Mapping mapping;
  const PositionPage* page() const { return mapping.as<const PositionPage>(); }
};

class RingReader {
 public:
  struct Frame {
    std::string_view topic;
    std::span<const std::byte> payload;
    std::uint64_t sequence = 0;
    std::uint64_t time_ns = 0;
    FrameKind kind = FrameKind::message;
    std::uint8_t flags = 0;
  };

  RingReader() = default;

  // Maps the descriptors that the control socket handed over; `sequence` is that of the frame at
  // `position`. Returns what is wrong, or nullptr.
  // `may_be_followed`: other readers can name this one, and are then given its position page.
  const char* open(int ring_fd, int page_fd, std::uint64_t position, std::uint64_t sequence,
                   bool may_be_followed = false);

  // The next frame, in place; false when there is none yet, or is_cut_off(). The frame is valid
  // until release(); in a lossy ring only until the writer overwrites it, which the result of
  // release() tells.
  bool next(Frame& frame) {
    for (;;) {
      if (position_ >= limit_ && !look_after_pause()) return false;
      const std::byte* at = data_ + (position_ & mask_);
      const FrameHeader header = load_header(at);
      if (!is_intact(position_)) {
        if (header_->lossless != 0) return false;
        catch_up();
        continue;
      }
      if (header.sequence < expected_) [[unlikely]] {
        skip(header);
        continue;
      }
      frame.topic = {reinterpret_cast<const char*>(at + sizeof header), header.topic_bytes};
      frame.payload = {at + sizeof header + header.topic_bytes, header.payload_bytes};
      frame.sequence = header.sequence;
      frame.time_ns = header.time_ns;
      frame.kind = header.kind;
      frame.flags = header.flags;
      last_ = position_;
      missed_ += header.sequence - expected_;
      expected_ = header.sequence + 1;
      position_ += frame_bytes(header.topic_bytes, header.payload_bytes);
      return true;
    }
  }

  // Does not return frames below `sequence`, nor count them as missed: they were read already. To
  // be called before the first next().
  void begin_at(std::uint64_t sequence) { expected_ = std::max(expected_, sequence); }

  // Whether the last frame is still unchanged. To be called after reading it.
  bool last_is_intact() const { return is_intact(last_); }

  // Allows the writer to overwrite everything returned so far. True if what was returned since the
  // last call was valid up to now.
  bool release();

  // Waits until there is something to read, by the given wait strategy. False at the deadline,
  // after stop_waiting(), or when the server has evicted this reader.
  template <class Wait>
  bool wait(const Wait& wait, base::Clock::time_point deadline) {
    if (wait.sleeps()) return wait_asleep(deadline);
    base::Parker unused;
    return wait.wait(
               unused, [&] { return look_for_more() || is_stopped(); }, deadline) &&
           position_ < limit_;
  }

  // For a reader that waits in a poll loop on its wake pipe. arm() announces a sleep as wait()
  // does: from then on the server writes a byte into the pipe when there is something to read.
  // `now`: there is something already, so it is not armed. `unsafe`: check again after
  // unsafe_sleep_max. Call disarm() before any other member.
  enum class Armed : std::uint8_t { now, safe, unsafe };
  // The longest sleep if a wake-up may be lost between the last check and the sleep: a predecessor
  // cannot change this reader's sleep word (it maps the page read-only; it tries again, see
  // wake_followers) nor write into its pipe, and the system may refuse heavy_fence().
  static constexpr auto unsafe_sleep_max = std::chrono::milliseconds(10);
  // The longest sleep of a reader whose page other processes have, or had. Each of them can sleep
  // on the word in its place, or move its sleep to a word of its own, where nobody wakes it:
  // FUTEX_REQUEUE needs no more than to read. A wake pipe cannot be taken away like that.
  static constexpr auto shared_sleep_max = std::chrono::milliseconds(100);
  Armed arm();
  void disarm();

  void stop_waiting();
  // An exchange, as the caller looks next at what it was stopped for. If this replaces the store of
  // stop_waiting(), it has seen what came before that. A plain store, even seq_cst, would let later
  // acquire loads come before it (ARM's LDAPR does): an event that was set in between would not be
  // seen, and its stop would be lost.
  void resume_waiting() { stopped_.exchange(false, std::memory_order_seq_cst); }

  Eviction eviction() const {
    return static_cast<Eviction>(page_->eviction.load(std::memory_order_seq_cst));
  }
  // Lossless: the next frame was overwritten, so the server no longer waits for this reader: it has
  // evicted it, which eviction() says from here on, or it saw the end of its connection. acquire:
  // the load of the intent comes before that of the eviction; partner: RingWriter::evict, which
  // stores the eviction before the writer advances the intent.
  bool is_cut_off() const {
    if (header_->lossless == 0 || position_ >= limit_ || is_intact(position_)) return false;
    acquire_fence();
    return true;
  }
  std::uint64_t missed() const { return missed_; }
  // For a last frame that was overwritten while the caller read it.
  void count_as_missed() { ++missed_; }
  std::uint64_t position() const { return position_; }
  std::uint64_t next_sequence() const { return expected_; }
  std::uint64_t lag_bytes() const {
    // A lapped reader may stand at the oldest frame of a batch that is not released yet.
    const std::uint64_t tail = header_->tail.load(std::memory_order_relaxed);
    return tail - std::min(tail, position_);
  }
  std::uint64_t epoch() const { return header_->epoch; }
  std::uint64_t ring_id() const { return header_->ring_id; }  // of all rings of the epoch
  std::uint64_t data_bytes() const { return data_bytes_; }
  // Lossless: frames wait in the server's overflow for this reader or another one; send the server
  // a wake-up after release().
  bool is_waited_for() const {
    return header_->overflow_waits.load(std::memory_order_seq_cst) != 0;
  }
  bool has_caught_up() const { return position_ >= header_->tail.load(std::memory_order_acquire); }

  // A predecessor is a consumer whose position this one stays behind, a follower one that stays
  // behind this one. False if `page_fd` is not a position page.
  bool add_predecessor(std::uint64_t consumer_id, int page_fd);
  bool add_follower(std::uint64_t consumer_id, int page_fd);
  void remove_neighbour(std::uint64_t consumer_id);

 private:
  // True if the writer had not yet announced to overwrite `position`. acquire_fence: the frame was
  // read before `intent` is; partner: full_fence in RingWriter::advance_intent.
  bool is_intact(std::uint64_t position) const {
    acquire_fence();
    return position + data_bytes_ >= header_->intent.load(std::memory_order_relaxed);
  }

  bool look_for_more() {
    limit_ = header_->tail.load(std::memory_order_seq_cst);
    if (!predecessors_.empty()) limit_ = behind_predecessors(limit_);
    return position_ < limit_;
  }

  // Each load of the tail takes its cache line away from the writer. As long as each load yields
  // only a few frames, the writer is busy, so the next load is delayed a little more each time and
  // yields more. A load that yields nothing resets the delay: waiting for a single frame has none.
  bool look_after_pause() {
    base::pause(pauses_);
    if (!look_for_more()) {
      pauses_ = 0;
      return false;
    }
    pauses_ =
        limit_ - position_ >= plenty_bytes ? pauses_ / 2 : std::min(2 * pauses_ + 1, pauses_max);
    return true;
  }

  bool is_stopped() const {
    return stopped_.load(std::memory_order_seq_cst) || eviction() != Eviction::none;
  }

  static constexpr std::uint64_t plenty_bytes = page_bytes;
  static constexpr int pauses_max = 31;  // about half a microsecond

  std::uint64_t behind_predecessors(std::uint64_t limit) const;
  void catch_up();
  void skip(const FrameHeader& header);
  void wake_followers();
  bool announce_sleep(std::uint32_t word);
  bool wait_asleep(base::Clock::time_point deadline);

  Mapping ring_;
  Mapping page_mapping_;
  const RingHeader* header_ = nullptr;
  const std::byte* data_ = nullptr;
  PositionPage* page_ = nullptr;
  std::uint64_t mask_ = 0;
  std::uint64_t data_bytes_ = 0;

  std::uint64_t position_ = 0;  // of the next frame
  std::uint64_t last_ = 0;      // of the last frame
  std::uint64_t released_ = 0;
  std::uint64_t in_hand_ = 0;  // of the first frame returned since the last release()
  std::uint64_t limit_ = 0;    // below it frames may be read without loading the tail again
  std::uint64_t expected_ = 0;
  std::uint64_t missed_ = 0;
  std::uint64_t missed_stored_ = 0;
  int pauses_ = 0;               // before the next load of the tail
  bool page_is_shared_ = false;  // stays true: who was given the page may keep it
  std::vector<Neighbour> predecessors_;
  std::vector<Neighbour> followers_;
  std::atomic<bool> stopped_{false};
};

}  // namespace millrace::shm
