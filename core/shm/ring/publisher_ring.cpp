#include "core/shm/ring/publisher_ring.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>
#include <utility>

#include "core/shm/ring/copy.hpp"

namespace millrace::shm {

std::unique_ptr<PublisherRingReader> PublisherRingReader::make(const PublisherRingOptions& wanted) {
  PublisherRingOptions options = wanted;
  if (!std::has_single_bit(options.data_bytes) || options.data_bytes < page_bytes) return nullptr;
  if (options.frame_bytes_max > options.data_bytes / 4) return nullptr;
  const std::size_t system_page = std::max(wanted.system_page, system_page_bytes());
  const std::size_t header_bytes = ring_header_bytes(system_page);
  options.data_bytes = std::max(options.data_bytes, system_page);
  UniqueFd ring_fd = make_memory("millrace-publisher-ring", header_bytes + options.data_bytes);
  UniqueFd control_fd = make_memory("millrace-publisher-control", page_bytes);
  if (!ring_fd || !control_fd) return nullptr;
  {
    const Mapping head = Mapping::map(ring_fd.get(), page_bytes, Access::read_write);
    if (!head) return nullptr;
    auto* header = new (head.data()) PublisherRingHeader;
    header->stamp.header_bytes = static_cast<std::uint32_t>(header_bytes);
    header->data_bytes = options.data_bytes;
    header->frame_bytes_max = static_cast<std::uint32_t>(options.frame_bytes_max);
  }
  Mapping ring =
      Mapping::map_ring(ring_fd.get(), header_bytes, options.data_bytes, Access::read_only);
  Mapping control = Mapping::map(control_fd.get(), page_bytes, Access::read_write);
  if (!ring || !control) return nullptr;
  auto* header = new (control.data()) PublisherRingControl;
  header->epoch = options.epoch;
  header->sleeping.store(1, std::memory_order_relaxed);  // the first publish sends a wake-up
  if (!seal_size(ring_fd.get(), true) || !seal_for_readers(control_fd.get())) return nullptr;
  const std::byte* data = ring.data() + header_bytes;
  return std::unique_ptr<PublisherRingReader>(
      new PublisherRingReader(options, std::move(ring_fd), std::move(control_fd), std::move(ring),
                              std::move(control), data));
}

PublisherRingReader::PublisherRingReader(const PublisherRingOptions& options, UniqueFd ring_fd,
                                         UniqueFd control_fd, Mapping ring, Mapping control,
                                         const std::byte* data)
    : options_(options),
      ring_fd_(std::move(ring_fd)),
      control_fd_(std::move(control_fd)),
      ring_mapping_(std::move(ring)),
      control_mapping_(std::move(control)),
      header_(ring_mapping_.as<const PublisherRingHeader>()),
      control_(control_mapping_.as<PublisherRingControl>()),
      data_(data),
      copy_(options.frame_bytes_max) {}

// Copied first, then checked: the header's words are loaded once, and every length used afterwards
// comes from that copy.
PublisherRingReader::Drained PublisherRingReader::copy_next(PublisherRingMessage& message) {
  if (head_ == tail_) {
    // acquire: before the frames below it are read; partner: the store in
    // PublisherRingWriter::flush.
    const std::uint64_t tail = header_->tail.load(std::memory_order_acquire);
    if (tail < head_ || tail - head_ > options_.data_bytes || tail % 8 != 0) {
      return Drained::faulty;
    }
    tail_ = tail;
    if (head_ == tail_) return Drained::empty;
  }
  const std::byte* at = data_ + (head_ & (options_.data_bytes - 1));
  if (tail_ - head_ < sizeof(FrameHeader)) return Drained::faulty;
  const FrameHeader header = load_header(at);
  const std::uint64_t bytes = frame_bytes(header.topic_bytes, header.payload_bytes);
  if (bytes > options_.frame_bytes_max || bytes > tail_ - head_) return Drained::faulty;
  const std::size_t topic_bytes = header.topic_bytes;
  const std::size_t payload_bytes = header.payload_bytes;
  std::memcpy(copy_.data(), at + sizeof(FrameHeader), topic_bytes + payload_bytes);
  message.topic = {reinterpret_cast<const char*>(copy_.data()), topic_bytes};
  message.payload = {copy_.data() + topic_bytes, payload_bytes};
  message.flags = header.flags;
  head_ += bytes;
  ++taken_;
  return Drained::more;
}

PublisherRingReader::Drained PublisherRingReader::finish(Drained result) {
  // release: after the frames were copied; partner: the acquire load in PublisherRingWriter::put.
  control_->head.store(head_, std::memory_order_release);
  control_->refused.store(refused_, std::memory_order_relaxed);
  return result;
}

bool PublisherRingReader::go_to_sleep() {
  // seq_cst: the exchange comes before the last load of the tail; partners: the store of the tail
  // and the load of `sleeping` in PublisherRingWriter::flush. So either the server sees the new
  // tail or the client sees `sleeping`.
  const std::uint32_t word = control_->sleeping.load(std::memory_order_relaxed);
  if ((word & 1) == 0) control_->sleeping.exchange(word + 1, std::memory_order_seq_cst);
  if (header_->tail.load(std::memory_order_seq_cst) == head_) return true;
  wake_up();
  return false;
}

void PublisherRingReader::wake_up() {
  const std::uint32_t word = control_->sleeping.load(std::memory_order_relaxed);
  if ((word & 1) != 0) control_->sleeping.store(word + 1, std::memory_order_seq_cst);
}

const char* PublisherRingWriter::open(int ring_fd, int control_fd) {
  Mapping control = Mapping::map(control_fd, page_bytes, Access::read_only);
  if (!control) return "the publisher ring's control page cannot be mapped";
  if (const char* fault =
          check_layout(control.as<const PublisherRingControl>()->stamp, control_magic)) {
    return fault;
  }
  Mapping head = Mapping::map(ring_fd, page_bytes, Access::read_only);
  if (!head) return "the publisher ring cannot be mapped";
  const auto* header = head.as<const PublisherRingHeader>();
  const Stamp stamp = header->stamp;
  if (const char* fault = check_layout(stamp, publisher_ring_magic, ring_header_bytes_max)) {
    return fault;
  }
  if (!std::has_single_bit(header->data_bytes)) {
    return "the publisher ring's size is not a power of two";
  }
  Mapping ring =
      Mapping::map_ring(ring_fd, stamp.header_bytes, header->data_bytes, Access::read_write);
  if (!ring) return "the publisher ring's frames cannot be mapped";
  ring_mapping_ = std::move(ring);
  control_mapping_ = std::move(control);
  header_ = ring_mapping_.as<PublisherRingHeader>();
  control_ = control_mapping_.as<const PublisherRingControl>();
  data_ = ring_mapping_.data() + stamp.header_bytes;
  mask_ = header_->data_bytes - 1;
  tail_ = released_ = head_ = 0;
  sequence_ = 0;
  woken_for_ = 0;
  return nullptr;
}

PublisherRingResult PublisherRingWriter::put(std::string_view topic,
                                             std::span<const std::byte> payload,
                                             std::uint8_t flags) {
  const std::uint64_t bytes = frame_bytes(topic.size(), payload.size());
  if (topic.size() > UINT16_MAX || bytes > header_->frame_bytes_max) {
    return PublisherRingResult::too_large;
  }
  if (tail_ + bytes - head_ > mask_ + 1) {
    // acquire: before the frames below it are overwritten; partner: the release store in
    // PublisherRingReader::finish.
    head_ = control_->head.load(std::memory_order_acquire);
    if (tail_ + bytes - head_ > mask_ + 1) return PublisherRingResult::full;
  }
  std::byte* at = data_ + (tail_ & mask_);
  store_header(
      at, {static_cast<std::uint32_t>(payload.size()), static_cast<std::uint16_t>(topic.size()),
           FrameKind::message, flags, ++sequence_, 0});
  copy_bytes(at + sizeof(FrameHeader), topic.data(), topic.size());
  copy_bytes(at + sizeof(FrameHeader) + topic.size(), payload.data(), payload.size());
  tail_ += bytes;
  return PublisherRingResult::taken;
}

bool PublisherRingWriter::flush() {
  if (released_ != tail_) {
    released_ = tail_;
    // seq_cst: after the frames and before the load of `sleeping`; partners: the acquire load in
    // PublisherRingReader::copy_next and the exchange in PublisherRingReader::go_to_sleep.
    header_->tail.store(tail_, std::memory_order_seq_cst);
  }
  const std::uint32_t sleeping = control_->sleeping.load(std::memory_order_seq_cst);
  if ((sleeping & 1) == 0 || sleeping == woken_for_ || is_drained()) return false;
  woken_for_ = sleeping;
  return true;
}

}  // namespace millrace::shm
