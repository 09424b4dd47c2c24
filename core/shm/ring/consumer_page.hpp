// A ConsumerPage: the server's side of one attached consumer, its position page above all.
//
// Thread contract: look(), wake() and evict() are for the thread that writes the ring. lift() may
// be called by any thread, once the consumer's socket has ended: from then on the consumer page holds nobody
// up. What holds: a position is believed only within [last seen, tail]; anything else is an
// eviction. Nothing that a consumer writes into its page can do more than that.
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
  // A page for a consumer that starts at `position`; empty when the system refuses.
  static std::shared_ptr<ConsumerPage> make(std::uint64_t consumer_id, std::uint64_t epoch,
                                            std::uint64_t position);

  std::uint64_t consumer_id() const { return consumer_id_; }
  int fd() const { return fd_.get(); }
  bool is_lifted() const { return lifted_.load(std::memory_order_acquire); }
  void lift() { lifted_.store(true, std::memory_order_release); }

  // Once its owner has mapped it: nobody else may map it for writing. False when the owner got in
  // between with a seal of its own; then it is not to be trusted.
  bool seal_for_neighbours() { return seal_for_readers(fd_.get()); }

  // Where the consumer is, or nothing when its page says nonsense. acquire pairs with the reader's
  // release of its position: what it was reading is read.
  std::optional<std::uint64_t> look(std::uint64_t tail, std::uint64_t now_ns) {
    const std::uint64_t position = page_->position.load(std::memory_order_acquire);
    if (position < last_seen_ || position > tail) return std::nullopt;
    if (position != last_seen_) {
      last_seen_ = position;
      progress_ns_ = now_ns;
    }
    return position;
  }

  // As the page has it now, believed or not: for figures only.
  std::uint64_t position() const { return page_->position.load(std::memory_order_relaxed); }
  // What it missed since the last call, as it says; never more than `most` in all.
  std::uint64_t take_missed(std::uint64_t most) {
    const std::uint64_t before = missed_;
    missed_ =
        std::clamp(page_->missed.load(std::memory_order_relaxed), before, std::max(before, most));
    return missed_ - before;
  }
  std::uint64_t last_seen() const { return last_seen_; }
  std::uint64_t progress_ns() const { return progress_ns_; }

  // After the tail was stored with seq_cst, to which the sleeper's own exchange is the partner.
  // A system call only when it sleeps, once for each sleep.
  bool wake() {
    std::uint32_t word = page_->sleep_word.load(std::memory_order_seq_cst);
    return (word & 1) != 0 && wake_sleeper(word);
  }

  void evict(Eviction reason);
  Eviction eviction() const { return eviction_; }

 private:
  ConsumerPage(std::uint64_t consumer_id, std::uint64_t position, UniqueFd fd, Mapping mapping)
      : consumer_id_(consumer_id),
        fd_(std::move(fd)),
        mapping_(std::move(mapping)),
        page_(mapping_.as<PositionPage>()),
        last_seen_(position) {}
  bool wake_sleeper(std::uint32_t word);

  const std::uint64_t consumer_id_;
  UniqueFd fd_;
  Mapping mapping_;
  PositionPage* const page_;
  std::uint64_t last_seen_;
  std::uint64_t progress_ns_ = 0;
  std::uint64_t missed_ = 0;
  Eviction eviction_ = Eviction::none;
  std::atomic<bool> lifted_{false};
};

}  // namespace millrace::shm
