#include "core/broker/outbox.hpp"

#include <cassert>
#include <cstring>
#include <iterator>
#include <span>
#include <utility>

#include "core/broker/check.hpp"

namespace millrace::broker {

namespace {
// A burst's vectors are given back to the allocator instead of being kept for the next one.
constexpr std::size_t kept_deliveries_max = 1024;
constexpr std::size_t kept_control_bytes_max = 16 * 1024;

// Slices that take less than this share of a large buffer are copied out of it, so that what a slow
// connection pins is at most so many times what it is charged for.
constexpr std::uint32_t pinned_share = 4;
constexpr std::uint32_t large_buffer_bytes = 4096;

// Where an item's bytes stand.
struct Slice {
  BufferRef* buffer;
  std::uint32_t* offset;
  std::uint32_t bytes;
};
Slice slice_of(HandoverItem& item) {
  if (auto* run = boost::variant2::get_if<PacketRun>(&item)) {
    return {&run->buffer, &run->offset, run->bytes};
  }
  Message& message = boost::variant2::unsafe_get<0>(item).message;
  return {&message.buffer, &message.packet_offset, message.packet_bytes};
}

// Moves the items' bytes, which are slices of one buffer, to a buffer of their own.
void move_to_own_buffer(std::span<HandoverItem> items, std::uint32_t bytes) {
  const BufferRef shared = *slice_of(items.front()).buffer;
  BufferRef own = Buffer::allocate(bytes);
  own->received_ns = shared->received_ns;
  std::uint32_t at = 0;
  for (HandoverItem& item : items) {
    const Slice slice = slice_of(item);
    MILLRACE_CHECK(slice.buffer->get() == shared.get() &&
                   *slice.offset + slice.bytes <= shared->capacity());
    std::memcpy(own->data() + at, shared->data() + *slice.offset, slice.bytes);
    *slice.buffer = own;
    *slice.offset = at;
    at += slice.bytes;
  }
  assert(at == bytes);
}
}  // namespace

void Handover::append(Handover&& later) {
  MILLRACE_CHECK(!(connected && later.connected));     // CONNACK is sent once
  MILLRACE_CHECK(!close || later.deliveries.empty());  // nothing is bound after the end
  if (later.connected) connected = later.connected;
  control.append(later.control);
  deliveries.insert(deliveries.end(), std::make_move_iterator(later.deliveries.begin()),
                    std::make_move_iterator(later.deliveries.end()));
  complete_to = later.complete_to;
  if (later.close && !close) close = later.close;
  later.clear();
}

void Handover::compact() {
  for (std::size_t first = 0; first < deliveries.size();) {
    const Buffer* const buffer = slice_of(deliveries[first]).buffer->get();
    std::uint32_t bytes = 0;
    std::size_t end = first;
    for (; end < deliveries.size(); ++end) {
      const Slice slice = slice_of(deliveries[end]);
      if (slice.buffer->get() != buffer) break;
      bytes += slice.bytes;
    }
    const std::uint32_t capacity = buffer->capacity();
    if (capacity >= large_buffer_bytes && bytes < capacity / pinned_share) {
      move_to_own_buffer(std::span(deliveries).subspan(first, end - first), bytes);
    }
    first = end;
  }
}

void Handover::clear() {
  connected.reset();
  complete_to = 0;
  close.reset();
  control.clear(kept_control_bytes_max);
  deliveries.clear();
  if (deliveries.capacity() > kept_deliveries_max) deliveries.shrink_to_fit();
}

Outbox::~Outbox() {
  delete handed_over_.load(std::memory_order_acquire);
  delete spare_.load(std::memory_order_acquire);
}

std::unique_ptr<Handover> Outbox::take() {
  // Acquire pairs with the release in hand_over().
  return std::unique_ptr<Handover>(handed_over_.exchange(nullptr, std::memory_order_acq_rel));
}

void Outbox::recycle(std::unique_ptr<Handover> handover) {
  MILLRACE_CHECK(handover != nullptr);
  handover->clear();
  // Without memory of its own it is not worth keeping: most connections are silent.
  if (handover->deliveries.capacity() == 0 && handover->control.capacity() == 0) return;
  delete spare_.exchange(handover.release(), std::memory_order_acq_rel);
}

std::unique_ptr<Handover> Outbox::obtain() {
  // Acquire pairs with the release in recycle().
  if (Handover* spare = spare_.exchange(nullptr, std::memory_order_acq_rel)) {
    return std::unique_ptr<Handover>(spare);
  }
  return std::make_unique<Handover>();
}

bool Outbox::hand_over() {
  MILLRACE_CHECK(has_staged());
  // What the connection has not taken yet is taken back, so that the order stays.
  if (Handover* earlier = handed_over_.exchange(nullptr, std::memory_order_acq_rel)) {
    earlier->append(std::move(*staged_));
    handed_over_.store(earlier, std::memory_order_release);
  } else {
    handed_over_.store(staged_.release(), std::memory_order_release);
  }
  return announce();
}

bool Outbox::publish_applied() {
  if (applied_commands_here_ == applied_commands_.load(std::memory_order_relaxed)) return false;
  applied_commands_.store(applied_commands_here_, std::memory_order_release);
  applied_bytes_.store(applied_bytes_here_, std::memory_order_release);
  // A read-modify-write, so that it is ordered with pause(): either the connection sees the new
  // counts after its pause(), or this sees that it paused.
  return paused_.exchange(false, std::memory_order_acq_rel);
}

void ReadyList::push(std::vector<OutboxRef>& outboxes) {
  {
    std::lock_guard lock(mutex_);
    if (outboxes_.empty()) {
      outboxes_.swap(outboxes);
    } else {
      outboxes_.insert(outboxes_.end(), std::make_move_iterator(outboxes.begin()),
                       std::make_move_iterator(outboxes.end()));
    }
  }
  outboxes.clear();
  // The exchange is true for one of several callers: one wake-up. The mutex orders this with
  // prepare_to_sleep().
  if (sleeping_.exchange(false, std::memory_order_acq_rel)) wake_();
}

bool ReadyList::take(std::vector<OutboxRef>& into) {
  into.clear();
  std::lock_guard lock(mutex_);
  outboxes_.swap(into);
  return !into.empty();
}

bool ReadyList::prepare_to_sleep() {
  sleeping_.store(true, std::memory_order_seq_cst);
  std::lock_guard lock(mutex_);
  if (outboxes_.empty()) return true;
  sleeping_.store(false, std::memory_order_relaxed);
  return false;
}

}  // namespace millrace::broker
