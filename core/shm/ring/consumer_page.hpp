// The server's side of one attached consumer: the page in which the consumer stores its position,
// and the server's checks of it.
//
// Thread contract: look(), take_missed(), wake() and evict() are for the thread that writes the
// ring. lift() may be called by any thread once the consumer's connection has ended: from then on
// its position no longer holds the writer back. consumer_id(), is_follower() and fd() are constant.
// Invariants: a position is accepted only within [last seen, tail]; anything else leads to an
// eviction. Nothing else that a consumer writes into its page has any effect on the server.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

#include "core/shm/ring/layout.hpp"
#include "core/shm/ring/memory.hpp"

namespace millrace::shm {

class ConsumerPage {
 public:
  // A page for a consumer that starts at `position`; null when the system refuses the memory.
  // With `has_wake_pipe`, a byte is written into a pipe each time that the consumer is woken, for a
  // consumer that waits in a poll loop. `is_follower`: it stands after others.
  static std::shared_ptr<ConsumerPage> make(std::uint64_t consumer_id, std::uint64_t epoch,
                                            std::uint64_t position, bool has_wake_pipe = false,
                                            bool is_follower = false);

  std::uint64_t consumer_id() const { return consumer_id_; }
  bool is_follower() const { return is_follower_; }
  int fd() const { return fd_.get(); }
  // The reading end of the wake pipe; -1 without one.
  int wake_pipe_fd() const { return wake_pipe_.read_end.get(); }
  bool is_lifted() const { return lifted_.load(std::memory_order_acquire); }
  void lift() { lifted_.store(true, std::memory_order_release); }

  // To be called once the consumer has mapped the page: from then on no process can map it for
  // writing. False if the consumer has added a seal that prevents further ones.
  bool seal_for_neighbours() { return seal_for_readers(fd_.get()); }

  // The consumer's position, or nullopt when it is outside [last seen, tail]. acquire: the
  // consumer's reads below its position come before the server overwrites those frames; partner:
  // the release store in RingReader::release.
  std::optional<std::uint64_t> look(std::uint64_t tail, std::uint64_t now_ns) {
    const std::uint64_t position = page_->position.load(std::memory_order_acquire);
    if (position < last_seen_ || position > tail) return std::nullopt;
    if (position != last_seen_) {
      last_seen_ = position;
      progress_ns_ = now_ns;
    }
    return position;
  }

  // The value in the page, unchecked: for metrics only.
  std::uint64_t position() const { return page_->position.load(std::memory_order_relaxed); }
  // Frames that the consumer counted as missed since the last call; at most `most` in all.
  std::uint64_t take_missed(std::uint64_t most) {
    const std::uint64_t before = missed_;
    missed_ =
        std::clamp(page_->missed.load(std::memory_order_relaxed), before, std::max(before, most));
    return missed_ - before;
  }
  std::uint64_t last_seen() const { return last_seen_; }
  std::uint64_t progress_ns() const { return progress_ns_; }
  // As if it had made progress now.
  void begin_lease(std::uint64_t now_ns) { progress_ns_ = now_ns; }

  // To be called after the tail was stored. seq_cst: this load comes after that store; partner: the
  // exchange in RingReader::announce_sleep, which comes before the sleeper's last load of the tail.
  // Makes a system call only when the consumer sleeps, once for each sleep. True if it did.
  bool wake() {
    std::uint32_t word = page_->sleep_word.load(std::memory_order_seq_cst);
    return (word & 1) != 0 && wake_sleeper(word);
  }

  void evict(Eviction reason);
  Eviction eviction() const { return eviction_; }

 private:
  ConsumerPage(std::uint64_t consumer_id, std::uint64_t position, UniqueFd fd, Mapping mapping,
               Pipe wake_pipe, bool is_follower)
      : consumer_id_(consumer_id),
        is_follower_(is_follower),
        fd_(std::move(fd)),
        wake_pipe_(std::move(wake_pipe)),
        mapping_(std::move(mapping)),
        page_(mapping_.as<PositionPage>()),
        last_seen_(position) {}
  bool wake_sleeper(std::uint32_t word);

  const std::uint64_t consumer_id_;
  const bool is_follower_;
  UniqueFd fd_;
  Pipe wake_pipe_;  // both ends: while the server holds a reading end, writing cannot raise SIGPIPE
  Mapping mapping_;
  PositionPage* const page_;
  std::uint64_t last_seen_;
  std::uint64_t progress_ns_ = 0;
  std::uint64_t missed_ = 0;
  Eviction eviction_ = Eviction::none;
  std::atomic<bool> lifted_{false};
};

}  // namespace millrace::shm
