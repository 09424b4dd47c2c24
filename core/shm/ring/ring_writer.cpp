#include "core/shm/ring/ring_writer.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>
#include <utility>

#include "core/shm/ring/fence.hpp"

namespace millrace::shm {
namespace {

// The intent advances by whole blocks: a lapped reader loses up to one block more than necessary,
// and in return the writer stores the intent once a block instead of once a frame.
constexpr std::uint64_t blocks = 32;

}  // namespace

std::unique_ptr<RingWriter> RingWriter::make(const RingOptions& wanted) {
  RingOptions options = wanted;
  if (!std::has_single_bit(options.data_bytes) || options.data_bytes < page_bytes) return nullptr;
  if (options.frame_bytes_max > options.data_bytes / 4) return nullptr;
  if (options.frame_bytes_max < sizeof(FrameHeader) + 8) return nullptr;
  const std::size_t system_page = std::max(wanted.system_page, system_page_bytes());
  const std::size_t header_bytes = ring_header_bytes(system_page);
  options.data_bytes = std::max(options.data_bytes, system_page);
  UniqueFd fd = make_memory("millrace-ring", header_bytes + options.data_bytes);
  if (!fd) return nullptr;
  Mapping mapping =
      Mapping::map_ring(fd.get(), header_bytes, options.data_bytes, Access::read_write);
  if (!mapping) return nullptr;
  auto* header = new (mapping.data()) RingHeader;
  header->stamp.header_bytes = static_cast<std::uint32_t>(header_bytes);
  header->ring_id = options.ring_id;
  header->epoch = options.epoch;
  header->data_bytes = options.data_bytes;
  header->frame_bytes_max = static_cast<std::uint32_t>(options.frame_bytes_max);
  header->lossless = options.lossless;
  header->light_fences = register_light_fences();
  if (!seal_for_readers(fd.get())) return nullptr;
  std::byte* data = mapping.data() + header_bytes;
  return std::unique_ptr<RingWriter>(
      new RingWriter(options, std::move(fd), std::move(mapping), data));
}

RingWriter::RingWriter(const RingOptions& options, UniqueFd fd, Mapping mapping, std::byte* data)
    : options_(options),
      fd_(std::move(fd)),
      mapping_(std::move(mapping)),
      header_(mapping_.as<RingHeader>()),
      data_(data),
      mask_(options.data_bytes - 1),
      block_bytes_(options.data_bytes / blocks),
      first_in_block_(blocks, 0) {}

// The rare cases: too large, or no space in the ring.
void RingWriter::append_slowly(std::string_view topic, std::span<const std::byte> payload,
                               std::uint8_t flags, std::uint64_t time_ns) {
  FrameHeader header = message_header(topic, payload, flags, time_ns);
  const std::uint64_t size = payload.size();
  if (topic.size() > UINT16_MAX ||
      frame_bytes(topic.size(), payload.size()) > options_.frame_bytes_max) {
    ++oversize_;
    if (frame_bytes(topic.size(), sizeof size) > options_.frame_bytes_max) topic = {};
    payload = std::as_bytes(std::span(&size, 1));
    header.kind = FrameKind::oversize;
    header.payload_bytes = sizeof size;
    header.topic_bytes = static_cast<std::uint16_t>(topic.size());
  }
  const std::uint64_t bytes = frame_bytes(topic.size(), payload.size());
  if (overflow_.empty() && reserve(bytes)) {
    write(header, topic, payload, bytes);
  } else {
    to_overflow(header, topic, payload);
  }
}

// A frame is about to start at tail_: it is the first frame of each block that begins at or below
// tail_ and has none yet.
void RingWriter::note_blocks() {
  while (next_block_ * block_bytes_ <= tail_) {
    first_in_block_[next_block_ % blocks] = tail_;
    ++next_block_;
  }
  next_block_start_ = next_block_ * block_bytes_;
}

// Announces that the space up to `end`, rounded up to a block, may be written, so that the frames
// there from one lap before may be overwritten. False: lossless, and a reader has not released
// those yet.
bool RingWriter::advance_intent(std::uint64_t end) {
  const std::uint64_t intent = align_up(end, block_bytes_);
  if (intent > options_.data_bytes) {
    const std::uint64_t lowest = intent - options_.data_bytes;  // frames from here on remain
    if (options_.lossless && !gate_allows(lowest)) return false;
    const std::uint64_t block = lowest / block_bytes_;
    const std::uint64_t oldest = block < next_block_ ? first_in_block_[block % blocks] : tail_;
    // Before the intent, so that a reader that sees the intent also sees where to continue;
    // partner: acquire_fence in RingReader::catch_up.
    header_->oldest.store(oldest, std::memory_order_release);
  }
  intent_ = intent;
  header_->intent.store(intent, std::memory_order_seq_cst);
  // The intent before the first overwriting store; partner: acquire_fence in RingReader::is_intact.
  full_fence();
  return true;
}

bool RingWriter::gate_allows(std::uint64_t lowest) {
  if (lowest <= gate_) return true;
  for (;;) {
    const auto gate = look_at_gate();
    if (!gate) continue;  // a reader was evicted: try again
    gate_ = *gate;
    return lowest <= gate_;
  }
}

// The lowest position of all readers; nullopt if one was just evicted for an invalid position.
std::optional<std::uint64_t> RingWriter::look_at_gate() {
  std::uint64_t lowest = tail_;
  for (std::size_t i = 0; i < consumer_pages_.size(); ++i) {
    ConsumerPage& consumer_page = *consumer_pages_[i];
    if (consumer_page.is_lifted()) continue;
    const auto position = consumer_page.look(released_, now_ns_);
    if (!position) {
      evict(i, Eviction::bad_position);
      return std::nullopt;
    }
    lowest = std::min(lowest, *position);
  }
  return lowest;
}

void RingWriter::to_overflow(const FrameHeader& header, std::string_view topic,
                             std::span<const std::byte> payload) {
  const std::size_t bytes = frame_bytes(topic.size(), payload.size());
  make_overflow_room(bytes);
  if (overflow_.empty() && reserve(bytes)) return write(header, topic, payload, bytes);
  if (overflow_.empty()) {
    overflow_since_ns_ = now_ns_;
    header_->overflow_waits.store(1, std::memory_order_seq_cst);
    publish_tail();  // readers cannot release frames that are written but not published
  }
  std::vector<std::byte> frame(bytes);
  store_header(frame.data(), header);
  copy_bytes(frame.data() + sizeof header, topic.data(), topic.size());
  copy_bytes(frame.data() + sizeof header + topic.size(), payload.data(), payload.size());
  overflow_.push_back(std::move(frame));
  overflow_bytes_ += bytes;
}

// Evicts the slowest reader as long as `bytes` more would exceed the overflow's limit.
void RingWriter::make_overflow_room(std::size_t bytes) {
  while (overflow_bytes_ + bytes > options_.overflow_bytes_max) {
    flush_overflow();
    if (overflow_bytes_ + bytes <= options_.overflow_bytes_max) return;
    std::size_t slowest = consumer_pages_.size();
    for (std::size_t i = 0; i < consumer_pages_.size(); ++i) {
      if (consumer_pages_[i]->is_lifted()) continue;
      if (slowest == consumer_pages_.size() ||
          consumer_pages_[i]->last_seen() < consumer_pages_[slowest]->last_seen()) {
        slowest = i;
      }
    }
    if (slowest == consumer_pages_.size()) return;  // no readers: the next reserve() succeeds
    evict(slowest, Eviction::overflow_full);
  }
}

void RingWriter::flush_overflow() {
  while (!overflow_.empty()) {
    const std::vector<std::byte>& frame = overflow_.front();
    if (!reserve(frame.size())) {
      publish_tail();
      return;
    }
    // The gate has moved: the reader that is slowest now gets a full lease.
    overflow_since_ns_ = now_ns_;
    if (tail_ >= next_block_start_) note_blocks();
    std::memcpy(data_ + (tail_ & mask_), frame.data(), frame.size());
    tail_ += frame.size();
    overflow_bytes_ -= frame.size();
    overflow_.pop_front();
  }
  header_->overflow_waits.store(0, std::memory_order_seq_cst);
}

// A follower that stands where its predecessor does had nothing to read, so when one is evicted,
// the followers behind it get a lease of their own. Who stands first is evicted first: the pages
// are in the order of attaching, in which a predecessor comes before its followers.
void RingWriter::end_leases() {
  if (options_.lease_ns == 0) return;
  bool is_first = true;
  for (std::size_t i = 0; i < consumer_pages_.size();) {
    ConsumerPage& consumer_page = *consumer_pages_[i];
    const std::uint64_t since = std::max(consumer_page.progress_ns(), overflow_since_ns_);
    const bool holds_gate = !consumer_page.is_lifted() && consumer_page.last_seen() <= gate_;
    const bool has_ended = holds_gate && now_ns_ >= since && now_ns_ - since >= options_.lease_ns;
    if (has_ended && (is_first || !consumer_page.is_follower())) {
      evict(i, Eviction::lease_ended);
      is_first = false;
    } else {
      if (has_ended) consumer_page.begin_lease(now_ns_);
      ++i;
    }
  }
}

void RingWriter::release(std::uint64_t now_ns) {
  now_ns_ = now_ns;
  drop_consumer_pages([](const ConsumerPage& consumer_page) { return consumer_page.is_lifted(); });
  if (!overflow_.empty()) {
    flush_overflow();
    if (!overflow_.empty()) {
      end_leases();
      flush_overflow();
    }
  }
  publish_tail();
}

void RingWriter::publish_tail() {
  if (released_ == tail_) return;
  released_ = tail_;
  if (consumer_pages_.empty()) {
    header_->tail.store(tail_, std::memory_order_release);
    return;
  }
  // After the frames, and before the load of the sleep words in ConsumerPage::wake; partners: the
  // load of the tail in RingReader::look_for_more, and announce_sleep. A full fence would stall
  // once a batch until every cache line of the batch was fetched from the readers, hence
  // light_fence where the system offers it.
  if (header_->light_fences != 0) {
    header_->tail.store(tail_, std::memory_order_release);
    light_fence();
  } else {
    header_->tail.store(tail_, std::memory_order_seq_cst);
  }
  for (const auto& consumer_page : consumer_pages_) wakes_ += consumer_page->wake();
}

Attachment RingWriter::add_reader(std::uint64_t consumer_id, bool from_oldest, std::uint64_t now_ns,
                                  bool has_wake_pipe, bool is_follower) {
  now_ns_ = now_ns;
  publish_tail();
  Attachment start{nullptr, released_, next_sequence_ - overflow_.size()};
  const std::uint64_t oldest = header_->oldest.load(std::memory_order_relaxed);
  if (from_oldest && oldest < released_) {
    start.position = oldest;
    start.sequence = load_header(data_ + (oldest & mask_)).sequence;
  }
  start.consumer_page =
      ConsumerPage::make(consumer_id, options_.epoch, start.position, has_wake_pipe, is_follower);
  if (!start.consumer_page) return start;
  gate_ = std::min(gate_, start.position);
  start.consumer_page->look(released_, now_ns);
  consumer_pages_.push_back(start.consumer_page);
  return start;
}

void RingWriter::inspect(std::uint64_t now_ns) {
  now_ns_ = now_ns;
  for (std::size_t i = 0; i < consumer_pages_.size();) {
    const auto position = consumer_pages_[i]->look(released_, now_ns);
    if (consumer_pages_[i]->is_lifted() || position) {
      lapped_ += consumer_pages_[i]->take_missed(next_sequence_);
      ++i;
    } else {
      evict(i, Eviction::bad_position);
    }
  }
}

void RingWriter::remove_reader(std::uint64_t consumer_id) {
  drop_consumer_pages([&](const ConsumerPage& consumer_page) {
    return consumer_page.consumer_id() == consumer_id;
  });
}

template <class Which>
void RingWriter::drop_consumer_pages(Which which) {
  std::erase_if(consumer_pages_, [&](const auto& consumer_page) {
    if (!which(*consumer_page)) return false;
    lapped_ += consumer_page->take_missed(next_sequence_);
    return true;
  });
}

void RingWriter::evict(std::size_t index, Eviction reason) {
  const std::shared_ptr<ConsumerPage> consumer_page = consumer_pages_[index];
  consumer_pages_.erase(consumer_pages_.begin() + static_cast<std::ptrdiff_t>(index));
  consumer_page->lift();
  consumer_page->evict(reason);
  lapped_ += consumer_page->take_missed(next_sequence_);
  ++evictions_;
  evicted_.push_back({consumer_page->consumer_id(), reason});
}

std::vector<Evicted> RingWriter::take_evicted() {
  return std::exchange(evicted_, {});
}

void RingWriter::close() {
  while (!consumer_pages_.empty()) evict(consumer_pages_.size() - 1, Eviction::ring_closed);
}

RingStats RingWriter::stats() const {
  RingStats stats;
  stats.position = tail_;
  stats.sequence = next_sequence_ - 1;
  stats.oversize = oversize_;
  stats.lapped = lapped_;
  stats.evictions = evictions_;
  stats.wakes = wakes_;
  stats.readers = consumer_pages_.size();
  stats.overflow_frames = overflow_.size();
  stats.overflow_bytes = overflow_bytes_;
  stats.data_bytes = options_.data_bytes;
  for (const auto& consumer_page : consumer_pages_) {
    const std::uint64_t position = std::min(consumer_page->position(), tail_);
    stats.lag_max_bytes = std::max(stats.lag_max_bytes, tail_ - position);
  }
  return stats;
}

}  // namespace millrace::shm
