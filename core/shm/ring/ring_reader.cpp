#include "core/shm/ring/ring_reader.hpp"

#include <sched.h>

#include <algorithm>
#include <bit>
#include <chrono>

namespace millrace::shm {
namespace {

using base::Clock;
using base::futex_wait;
using base::futex_wake;
using base::Scope;

// How long a wake-up that falls between the last look and the sleep can cost. A neighbour cannot
// mark us awake (it maps our page read-only), although it tries again (wake_followers); and a
// system may refuse heavy_fence().
constexpr auto longest_unsafe_nap = std::chrono::milliseconds(10);
constexpr int wake_attempts = 64;
constexpr int looks_before_sleep = 100;

Mapping map_page(int fd, Access access) {
  Mapping mapping = Mapping::map(fd, page_bytes, access);
  if (mapping && check_layout(mapping.as<PositionPage>()->stamp, page_magic)) return {};
  return mapping;
}

}  // namespace

const char* RingReader::open(int ring_fd, int page_fd, std::uint64_t position,
                             std::uint64_t sequence) {
  Mapping head = Mapping::map(ring_fd, page_bytes, Access::read_only);
  if (!head) return "the ring cannot be mapped";
  const auto* header = head.as<const RingHeader>();
  if (const char* fault = check_layout(header->stamp, ring_magic)) return fault;
  if (!std::has_single_bit(header->data_bytes)) return "the ring's size is no power of two";
  ring_ = Mapping::map_ring(ring_fd, header->data_bytes, Access::read_only);
  if (!ring_) return "the ring's frames cannot be mapped";
  page_mapping_ = map_page(page_fd, Access::read_write);
  if (!page_mapping_) return "the position page cannot be mapped";
  header_ = ring_.as<const RingHeader>();
  data_ = ring_.data() + page_bytes;
  page_ = page_mapping_.as<PositionPage>();
  data_bytes_ = header_->data_bytes;
  mask_ = data_bytes_ - 1;
  position_ = released_ = limit_ = position;
  expected_ = sequence;
  missed_ = missed_told_ = 0;
  rest_ = 0;
  predecessors_.clear();
  followers_.clear();
  stopped_.store(false, std::memory_order_seq_cst);
  return nullptr;
}

bool RingReader::release() {
  const bool intact = is_intact(released_);
  if (released_ == position_) return intact;
  released_ = position_;
  if (missed_ != missed_told_) {
    missed_told_ = missed_;
    page_->missed.store(missed_, std::memory_order_relaxed);
  }
  // release: our reads of the frames come before it; partner: ConsumerPage::look. With someone asleep after
  // us it must also come before the look at their sleep words, hence seq_cst then.
  if (followers_.empty()) {
    page_->position.store(position_, std::memory_order_release);
  } else {
    page_->position.store(position_, std::memory_order_seq_cst);
    wake_followers();
  }
  return intact;
}

// The writer came round: everything up to the oldest frame is gone.
void RingReader::catch_up() {
  position_ = std::max(position_, header_->oldest.load(std::memory_order_acquire));
  // What was handed out before is no longer valid either; release() says so, as `released_` stays.
  if (position_ >= limit_) look_for_more();
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
      if (futex_wake(page.sleep_word, Scope::shared) > 0) break;
      if (page.sleep_word.load(std::memory_order_seq_cst) != word) break;
      ::sched_yield();
    }
  }
}

// Ahead of the last look at the tail; partners: RingWriter::publish_tail, release(). False: the
// writer may not notice.
bool RingReader::announce_sleep(std::uint32_t word) {
  page_->sleep_word.exchange(word, std::memory_order_seq_cst);
  return header_->light_fences == 0 || heavy_fence();
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
      const auto nap_end = Clock::now() + longest_unsafe_nap;
      futex_wait(page_->sleep_word, odd, is_safe ? deadline : std::min(deadline, nap_end),
                 Scope::shared);
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
  limit_ = position_;  // what lay beyond it is no longer ours to read
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
