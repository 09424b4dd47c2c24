#include "core/shm/lane.hpp"

#include <bit>
#include <cstring>
#include <new>
#include <utility>

#include "core/shm/copy.hpp"

namespace millrace::shm {

std::unique_ptr<LaneReader> LaneReader::make(const LaneOptions& options) {
  if (!std::has_single_bit(options.data_bytes) || options.data_bytes < page_bytes) return nullptr;
  if (options.frame_bytes_max > options.data_bytes / 4) return nullptr;
  UniqueFd lane_fd = make_memory("millrace-lane", page_bytes + options.data_bytes);
  UniqueFd control_fd = make_memory("millrace-lane-control", page_bytes);
  if (!lane_fd || !control_fd) return nullptr;
  {
    const Mapping head = Mapping::map(lane_fd.get(), page_bytes, Access::read_write);
    if (!head) return nullptr;
    auto* lane = new (head.data()) LaneHeader;
    lane->data_bytes = options.data_bytes;
    lane->frame_bytes_max = static_cast<std::uint32_t>(options.frame_bytes_max);
  }
  Mapping lane = Mapping::map_ring(lane_fd.get(), options.data_bytes, Access::read_only);
  Mapping control = Mapping::map(control_fd.get(), page_bytes, Access::read_write);
  if (!lane || !control) return nullptr;
  auto* header = new (control.data()) LaneControl;
  header->epoch = options.epoch;
  header->sleeping.store(1, std::memory_order_relaxed);  // the first publish rings
  if (!seal_size(lane_fd.get(), true) || !seal_for_readers(control_fd.get())) return nullptr;
  return std::unique_ptr<LaneReader>(new LaneReader(
      options, std::move(lane_fd), std::move(control_fd), std::move(lane), std::move(control)));
}

LaneReader::LaneReader(const LaneOptions& options, UniqueFd lane_fd, UniqueFd control_fd,
                       Mapping lane, Mapping control)
    : options_(options),
      lane_fd_(std::move(lane_fd)),
      control_fd_(std::move(control_fd)),
      lane_mapping_(std::move(lane)),
      control_mapping_(std::move(control)),
      lane_(lane_mapping_.as<const LaneHeader>()),
      control_(control_mapping_.as<LaneControl>()),
      copy_(options.frame_bytes_max) {}

// Copied first, then checked: the header is looked at once, into our own memory, and every length
// used afterwards is that copy's.
LaneReader::Drained LaneReader::copy_next(LaneMessage& message) {
  if (head_ == tail_) {
    // acquire: the frames below it; partner: LaneWriter::flush.
    const std::uint64_t tail = lane_->tail.load(std::memory_order_acquire);
    if (tail < head_ || tail - head_ > options_.data_bytes || tail % 8 != 0) {
      return Drained::faulty;
    }
    tail_ = tail;
    if (head_ == tail_) return Drained::empty;
  }
  const std::byte* at = lane_mapping_.data() + page_bytes + (head_ & (options_.data_bytes - 1));
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

LaneReader::Drained LaneReader::finish(Drained result) {
  // release: our copies come before it; partner: LaneWriter::put.
  control_->head.store(head_, std::memory_order_release);
  control_->refused.store(refused_, std::memory_order_relaxed);
  return result;
}

bool LaneReader::go_to_sleep() {
  // Ahead of the last look at the tail; partner: LaneWriter::flush.
  const std::uint32_t word = control_->sleeping.load(std::memory_order_relaxed);
  if ((word & 1) == 0) control_->sleeping.exchange(word + 1, std::memory_order_seq_cst);
  if (lane_->tail.load(std::memory_order_seq_cst) == head_) return true;
  wake_up();
  return false;
}

void LaneReader::wake_up() {
  const std::uint32_t word = control_->sleeping.load(std::memory_order_relaxed);
  if ((word & 1) != 0) control_->sleeping.store(word + 1, std::memory_order_seq_cst);
}

const char* LaneWriter::open(int lane_fd, int control_fd) {
  Mapping control = Mapping::map(control_fd, page_bytes, Access::read_only);
  if (!control) return "the lane's control page cannot be mapped";
  if (const char* fault = check_layout(control.as<const LaneControl>()->stamp, control_magic)) {
    return fault;
  }
  Mapping head = Mapping::map(lane_fd, page_bytes, Access::read_only);
  if (!head) return "the lane cannot be mapped";
  const auto* header = head.as<const LaneHeader>();
  if (const char* fault = check_layout(header->stamp, lane_magic)) return fault;
  if (!std::has_single_bit(header->data_bytes)) return "the lane's size is no power of two";
  Mapping lane = Mapping::map_ring(lane_fd, header->data_bytes, Access::read_write);
  if (!lane) return "the lane's frames cannot be mapped";
  lane_mapping_ = std::move(lane);
  control_mapping_ = std::move(control);
  lane_ = lane_mapping_.as<LaneHeader>();
  control_ = control_mapping_.as<const LaneControl>();
  data_ = lane_mapping_.data() + page_bytes;
  mask_ = lane_->data_bytes - 1;
  tail_ = released_ = head_ = 0;
  sequence_ = 0;
  rung_for_ = 0;
  return nullptr;
}

LaneResult LaneWriter::put(std::string_view topic, std::span<const std::byte> payload,
                           std::uint8_t flags) {
  const std::uint64_t bytes = frame_bytes(topic.size(), payload.size());
  if (topic.size() > UINT16_MAX || bytes > lane_->frame_bytes_max) return LaneResult::too_large;
  if (tail_ + bytes - head_ > mask_ + 1) {
    // acquire: the server's copies; partner: LaneReader::finish.
    head_ = control_->head.load(std::memory_order_acquire);
    if (tail_ + bytes - head_ > mask_ + 1) return LaneResult::full;
  }
  std::byte* at = data_ + (tail_ & mask_);
  store_header(
      at, {static_cast<std::uint32_t>(payload.size()), static_cast<std::uint16_t>(topic.size()),
           FrameKind::message, flags, ++sequence_, 0});
  copy_bytes(at + sizeof(FrameHeader), topic.data(), topic.size());
  copy_bytes(at + sizeof(FrameHeader) + topic.size(), payload.data(), payload.size());
  tail_ += bytes;
  return LaneResult::taken;
}

bool LaneWriter::flush() {
  if (released_ != tail_) {
    released_ = tail_;
    // seq_cst: ahead of the look at `sleeping`; partner: LaneReader::go_to_sleep.
    lane_->tail.store(tail_, std::memory_order_seq_cst);
  }
  const std::uint32_t sleeping = control_->sleeping.load(std::memory_order_seq_cst);
  if ((sleeping & 1) == 0 || sleeping == rung_for_ || is_drained()) return false;
  rung_for_ = sleeping;
  return true;
}

}  // namespace millrace::shm
