#include "server/mqtt/packet_reader.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

namespace millrace::server {

namespace {

// Before authentication a buffer starts this small and doubles as bytes arrive. A buffer of this
// size is not charged to the budget, so it is never refused.
constexpr std::uint32_t first_buffer_bytes = 4096;
// A client's buffer starts this large, quadruples, and may have this size at any time.
constexpr std::uint32_t first_client_bytes = 64 * 1024;

}  // namespace

IoResult PacketReader::receive(Stream& stream, ReceivedBytes& received) {
  assert(!held_);
  received.origin_ = origin_;
  return packet_bytes_ > 0 ? receive_into_own(stream, received)
                           : receive_into_shared(stream, received);
}

// A large packet: nothing to handle until all of it is there.
IoResult PacketReader::receive_into_own(Stream& stream, ReceivedBytes& received) {
  // Before the read, as keep() may have filled the buffer, too: a read into no room looks like the
  // peer's end.
  if (bytes_ == buffer_->capacity()) {
    const std::uint32_t factor = trust_ == Trust::client ? 4 : 2;
    const std::uint32_t capacity = std::min(packet_bytes_, factor * bytes_);
    if (!charge(capacity, trust_)) {
      received.is_over_budget_ = true;
      return {IoStatus::ok};
    }
    broker::BufferRef larger = broker::Buffer::allocate(capacity);
    std::memcpy(larger->data(), buffer_->data(), bytes_);
    buffer_ = std::move(larger);
  }
  const IoResult result = stream.read({buffer_->data() + bytes_, buffer_->capacity() - bytes_});
  if (result.status != IoStatus::ok) return result;
  bytes_ += static_cast<std::uint32_t>(result.bytes);
  if (bytes_ < packet_bytes_) return result;
  received.own_ = std::move(buffer_);
  received.bytes_ = {received.own_->data(), bytes_};
  received.holder_ = received.own_.get();
  forget();
  return result;
}

IoResult PacketReader::receive_into_shared(Stream& stream, ReceivedBytes& received) {
  broker::Buffer& buffer = memory_.buffers.current();
  const std::uint32_t head_bytes = bytes_;
  if (head_bytes > 0) std::memcpy(buffer.data(), buffer_->data(), head_bytes);
  const IoResult result = stream.read({buffer.data() + head_bytes, buffer.capacity() - head_bytes});
  if (result.status != IoStatus::ok) return result;
  if (head_bytes > 0) forget();
  const std::size_t total = head_bytes + result.bytes;
  received.bytes_ = {buffer.data(), total};
  // A quarter or more of the buffer was read: its messages are slices of it, without a copy.
  if (total >= buffer.capacity() / 4) received.holder_ = &buffer;
  return result;
}

// --- Keeping -------------------------------------------------------------------------------------

bool PacketReader::keep(const ReceivedBytes& received, Rest rest, Trust trust,
                        std::uint32_t packet_bytes) {
  const std::span<const std::uint8_t> bytes = received.rest();
  if (bytes.empty()) return true;
  assert(buffer_ == nullptr);
  const auto count = static_cast<std::uint32_t>(bytes.size());
  std::uint32_t capacity = count;
  // More than a quarter of the shared buffer: the rest is read straight into a buffer of its own.
  const bool is_large = packet_bytes > memory_.buffers.buffer_bytes() / 4;
  if (rest == Rest::partial && is_large) {
    const std::uint32_t first = trust == Trust::client ? first_client_bytes : first_buffer_bytes;
    const bool has_room = trust != Trust::client || memory_.has_room_for(2 * count);
    capacity = std::min(packet_bytes, std::max(has_room ? 2 * count : count, first));
    packet_bytes_ = packet_bytes;
  }
  if (!charge(capacity, trust)) return false;
  buffer_ = broker::Buffer::allocate(capacity);
  std::memcpy(buffer_->data(), bytes.data(), count);
  bytes_ = count;
  trust_ = trust;
  held_ = rest == Rest::held;
  return true;
}

void PacketReader::take_held(ReceivedBytes& received) {
  assert(held_);
  received.origin_ = origin_;
  received.own_ = std::move(buffer_);
  received.bytes_ = {received.own_->data(), bytes_};
  received.holder_ = received.own_.get();
  forget();
}

void PacketReader::forget() {
  memory_.budget.give_back(std::exchange(charged_bytes_, 0));
  buffer_.reset();
  bytes_ = packet_bytes_ = 0;
  held_ = false;
}

// Charges `bytes` to the budget in place of what was charged before; a client's are counted as all
// buffers are. False: it is used up.
bool PacketReader::charge(std::uint32_t bytes, Trust trust) {
  memory_.budget.give_back(std::exchange(charged_bytes_, 0));
  if (trust == Trust::client) return bytes <= first_client_bytes || memory_.has_room_for(bytes);
  if (bytes <= first_buffer_bytes) return true;
  if (!memory_.budget.take(bytes)) return false;
  charged_bytes_ = bytes;
  return true;
}

}  // namespace millrace::server
