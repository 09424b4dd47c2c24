#include "core/shm/ring/ring_reader.hpp"

#include <algorithm>
#include <bit>
#include <chrono>

namespace millrace::shm {
namespace {

using base::Clock;
using base::futex_wait;
using base::futex_wake;
using base::Scope;

// A follower that has announced its sleep but does not sleep yet is not reached by the first
// wake-up. A few attempts reach most of those, and the others look again after unsafe_sleep_max.
// More of them would let one that only says that it sleeps hold up its predecessor.
constexpr int wake_attempts = 4;
constexpr int pauses_between_attempts = 16;
constexpr int looks_before_sleep = 100;

Mapping map_page(int fd, Access access) {
  Mapping mapping = Mapping::map(fd, page_bytes, access);
  if (mapping && check_layout(mapping.as<PositionPage>()->stamp, page_magic)) return {};
  return mapping;
}

}  // namespace

const char* RingReader::open(int ring_fd, int page_fd, std::uint64_t position,
                             std::uint64_t sequence, bool may_be_followed) {
  Mapping head = Mapping::map(ring_fd, page_bytes, Access::read_only);
  if (!head) return "the ring cannot be mapped";
  const auto* header = head.as<const RingHeader>();
  const Stamp stamp = header->stamp;
  if (const char* fault = check_layout(stamp, ring_magic, ring_header_bytes_max)) return fault;
  if (!std::has_single_bit(header->data_bytes)) return "the ring's size is not a power of two";
  ring_ = Mapping::map_ring(ring_fd, stamp.header_bytes, header->data_bytes, Access::read_only);
  if (!ring_) return "the ring's frames cannot be mapped";
  page_mapping_ = map_page(page_fd, Access::read_write);
  if (!page_mapping_) return "the position page cannot be mapped";
  header_ = ring_.as<const RingHeader>();
  data_ = ring_.data() + stamp.header_bytes;
  page_ = page_mapping_.as<PositionPage>();
  data_bytes_ = header_->data_bytes;
  mask_ = data_bytes_ - 1;
  position_ = released_ = in_hand_ = limit_ = position;
  expected_ = sequence;
  missed_ = missed_stored_ = 0;
  pauses_ = 0;
  page_is_shared_ = may_be_followed;
  predecessors_.clear();
  followers_.clear();
  stopped_.store(false, std::memory_order_seq_cst);
  return nullptr;
}

bool RingReader::release() {
  const bool intact = in_hand_ == position_ || is_intact(in_hand_);
  in_hand_ = position_;
  if (released_ == position_) return intact;
  released_ = position_;
  if (missed_ != missed_stored_) {
    missed_stored_ = missed_;
    page_->missed.store(missed_, std::memory_order_relaxed);
  }
  // release: after the frames were read; partner: the acquire load in ConsumerPage::look. If there
  // are followers it must also come before the load of their sleep words, hence seq_cst; partner:
  // the exchange in announce_sleep, which comes before a follower's load of this position.
  if (followers_.empty()) {
    page_->position.store(position_, std::memory_order_release);
  } else {
    page_->position.store(position_, std::memory_order_seq_cst);
    wake_followers();
  }
  return intact;
}

// The writer has lapped this reader: everything below the oldest frame is lost. If frames are in
// hand, in_hand_ is kept, so that release() reports them as no longer valid.
void RingReader::catch_up() {
  // The intent that is_intact() saw comes before the load of `oldest`; partner: the store of
  // `oldest`, which comes before that of the intent in RingWriter::advance_intent.
  acquire_fence();
  const bool none_in_hand = in_hand_ == position_;
  position_ = std::max(position_, header_->oldest.load(std::memory_order_acquire));
  if (none_in_hand) in_hand_ = position_;
  if (position_ >= limit_) look_for_more();
}

// Only before the first frame is returned, see begin_at(): so none is in hand.
void RingReader::skip(const FrameHeader& header) {
  position_ += frame_bytes(header.topic_bytes, header.payload_bytes);
  in_hand_ = position_;
}

std::uint64_t RingReader::behind_predecessors(std::uint64_t limit) const {
  for (const Neighbour& before : predecessors_) {
    limit = std::min(limit, before.page()->position.load(std::memory_order_seq_cst));
  }
  return limit;
}

void RingReader::wake_followers() {
  for (const Neighbour& follower : followers_) {
    const PositionPage& page = *follower.page();
    const std::uint32_t word = page.sleep_word.load(std::memory_order_seq_cst);
    if ((word & 1) == 0) continue;
    for (int i = 0; i < wake_attempts; ++i) {
      if (futex_wake(page.sleep_word, Scope::shared, 1) > 0) break;
      if (page.sleep_word.load(std::memory_order_seq_cst) != word) break;
      base::pause(pauses_between_attempts);
    }
  }
}

// seq_cst: before the last load of the tail and of the predecessors' positions; partners:
// RingWriter::publish_tail and release(). False: the writer may not see it in time.
bool RingReader::announce_sleep(std::uint32_t word) {
  page_->sleep_word.exchange(word, std::memory_order_seq_cst);
  return header_->light_fences == 0 || heavy_fence();
}

RingReader::Armed RingReader::arm() {
  const std::uint32_t odd = page_->sleep_word.load(std::memory_order_seq_cst) | 1u;
  const bool is_safe = announce_sleep(odd) && predecessors_.empty();
  if (!look_for_more() && !is_stopped()) return is_safe ? Armed::safe : Armed::unsafe;
  disarm();
  return Armed::now;
}

void RingReader::disarm() {
  std::uint32_t word = page_->sleep_word.load(std::memory_order_seq_cst);
  if ((word & 1) == 0) return;
  page_->sleep_word.compare_exchange_strong(word, word + 1, std::memory_order_seq_cst);
}

bool RingReader::wait_asleep(Clock::time_point deadline) {
  for (int looks = 0; looks < looks_before_sleep; ++looks) {
    if (look_for_more()) return true;
    if (is_stopped()) return false;
    base::pause();
  }
  for (;;) {
    const std::uint32_t even = page_->sleep_word.load(std::memory_order_seq_cst) & ~1u;
    const std::uint32_t odd = even + 1;
    const bool is_safe = announce_sleep(odd) && predecessors_.empty();
    const bool more = look_for_more();
    if (!more && !is_stopped()) {
      auto until = deadline;
      if (!is_safe) {
        until = std::min(until, Clock::now() + unsafe_sleep_max);
      } else if (page_is_shared_) {
        until = std::min(until, Clock::now() + shared_sleep_max);
      }
      futex_wait(page_->sleep_word, odd, until, Scope::shared);
    }
    std::uint32_t expected = odd;
    page_->sleep_word.compare_exchange_strong(expected, even + 2, std::memory_order_seq_cst);
    if (more || look_for_more()) return true;
    if (is_stopped() || Clock::now() >= deadline) return false;
  }
}

void RingReader::stop_waiting() {
  stopped_.store(true, std::memory_order_seq_cst);
  std::uint32_t word = page_->sleep_word.load(std::memory_order_seq_cst);
  if ((word & 1) == 0) return;
  page_->sleep_word.compare_exchange_strong(word, word + 1, std::memory_order_seq_cst);
  futex_wake(page_->sleep_word, Scope::shared);
}

bool RingReader::add_predecessor(std::uint64_t consumer_id, int page_fd) {
  Mapping mapping = map_page(page_fd, Access::read_only);
  if (!mapping) return false;
  predecessors_.push_back({consumer_id, std::move(mapping)});
  page_is_shared_ = true;  // a predecessor is given it, to wake this reader
  limit_ = position_;      // beyond it, only what the predecessor has released
  return true;
}

bool RingReader::add_follower(std::uint64_t consumer_id, int page_fd) {
  Mapping mapping = map_page(page_fd, Access::read_only);
  if (!mapping) return false;
  followers_.push_back({consumer_id, std::move(mapping)});
  return true;
}

void RingReader::remove_neighbour(std::uint64_t consumer_id) {
  const auto is_it = [&](const Neighbour& one) { return one.consumer_id == consumer_id; };
  std::erase_if(predecessors_, is_it);
  std::erase_if(followers_, is_it);
}

}  // namespace millrace::shm
