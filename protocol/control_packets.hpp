// ControlPackets: a buffer of encoded control packets, which are counted by type as they are
// encoded, so that the sender need not parse the bytes again. One thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "protocol/encode.hpp"

namespace millrace::protocol {

class ControlPackets {
 public:
  // PUBACK, PUBREC, PUBREL or PUBCOMP.
  void add_ack(PacketType type, std::uint16_t packet_id, ReasonCode reason, Version version) {
    encode_ack(type, packet_id, reason, version, bytes_);
    count(type);
    // Each of these increases the client's send quota by one. (MQTT 5.0, section 4.9)
    if (type == PacketType::puback || type == PacketType::pubcomp ||
        (type == PacketType::pubrec && is_failure(reason))) {
      ++exchanges_ended_;
    }
  }
  // Any other packet, already encoded.
  void add(std::span<const std::uint8_t> packet) {
    add_uncounted(packet);
    count(static_cast<PacketType>(packet[0] >> 4));
  }
  // Encoded packets that the caller counts itself.
  void add_uncounted(std::span<const std::uint8_t> packets) {
    bytes_.insert(bytes_.end(), packets.begin(), packets.end());
  }

  const std::vector<std::uint8_t>& bytes() const { return bytes_; }
  bool empty() const { return bytes_.empty(); }
  std::size_t size() const { return bytes_.size(); }
  std::size_t capacity() const { return bytes_.capacity(); }

  std::uint32_t count_of(PacketType type) const { return counts_[static_cast<std::size_t>(type)]; }
  std::uint32_t exchanges_ended() const { return exchanges_ended_; }

  void append(const ControlPackets& later) {
    add_uncounted(later.bytes_);
    for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += later.counts_[i];
    exchanges_ended_ += later.exchanges_ended_;
  }
  // Resets the counts, which the caller has read; the bytes are still to be sent.
  void forget_counts() {
    counts_ = {};
    exchanges_ended_ = 0;
  }
  // Empties the buffer, and frees its memory if that exceeds `kept_bytes_max`.
  void clear(std::size_t kept_bytes_max) {
    bytes_.clear();
    if (bytes_.capacity() > kept_bytes_max) bytes_.shrink_to_fit();
    forget_counts();
  }

 private:
  void count(PacketType type) { ++counts_[static_cast<std::size_t>(type)]; }

  std::vector<std::uint8_t> bytes_;
  std::array<std::uint32_t, 16> counts_{};  // by PacketType
  std::uint32_t exchanges_ended_ = 0;
};

inline void encode_ack(PacketType type, std::uint16_t packet_id, ReasonCode reason, Version version,
                       ControlPackets& out) {
  out.add_ack(type, packet_id, reason, version);
}

}  // namespace millrace::protocol
