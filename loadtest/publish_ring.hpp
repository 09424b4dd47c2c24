// The PUBLISH packets of one publisher, encoded once and sent repeatedly: before a packet is sent
// again, only its topic's digits, its packet identifier and its stamp are overwritten.
//
// One thread. Invariants: stamped but unsent packets are contiguous from the send position, at
// most capacity() of them; the bytes of a packet never change between its stamping and its being
// sent.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "loadtest/packets.hpp"
#include "loadtest/stamp.hpp"

namespace millrace::loadtest {

struct PublishShape {
  MqttVersion version = MqttVersion::v3_1_1;
  std::uint8_t qos = 0;
  bool retain = false;
  std::size_t payload_bytes = 64;
  std::uint32_t run = 0;
  std::uint32_t first_stream = 0;  // stream of topic 0
  std::uint32_t first_topic = 0;   // the topic of this publisher's first message
};

class PublishRing {
 public:
  static constexpr std::size_t kRingBytes = 128 * 1024;  // fits into a core's L2 cache

  PublishRing(const TopicNames& topics, const PublishShape& shape);

  std::size_t capacity() const { return capacity_; }
  std::size_t room() const { return capacity_ - pending_packets(); }
  std::size_t packet_bytes() const { return stride_; }
  // The number of messages of `topic` stamped so far.
  std::uint64_t stamped_of(std::uint32_t topic) const;

  // Stamps the next packet; the times are already in the form of spread(). room() must not be 0;
  // packet_id is ignored at QoS 0.
  void stamp(std::uint64_t intended, std::uint64_t sent, std::uint16_t packet_id) {
    char* const packet = bytes_.get() + stamp_slot_ * stride_;
    if (++stamp_slot_ == capacity_) stamp_slot_ = 0;
    std::memcpy(packet + digits_at_, &topics_.digits(topic_), kTopicDigits);
    if (has_packet_id_) {
      packet[packet_id_at_] = static_cast<char>(packet_id >> 8);
      packet[packet_id_at_ + 1] = static_cast<char>(packet_id);
    }
    const auto stream = static_cast<std::uint32_t>(spread(first_stream_ + topic_));
    const WireStamp stamp{run_, stream, sequence_, intended, sent};
    std::memcpy(packet + stamp_at_, &stamp, sizeof stamp);
    ++stamped_;
    if (++topic_ == topics_.count()) topic_ = 0;
    if (topic_ == first_topic_) sequence_ = spread_next(sequence_);
  }

  bool idle() const { return unsent_bytes() == 0; }
  std::size_t unsent_bytes() const { return stamped_ * stride_ - sent_bytes_; }
  // Whether the next byte to send is the first of a packet.
  bool at_boundary() const { return sent_bytes_ % stride_ == 0; }
  // The stamped, unsent bytes, in one or two pieces; returns how many.
  int unsent(iovec (&pieces)[2]) const;
  void mark_sent(std::size_t bytes) { sent_bytes_ += bytes; }

 private:
  std::size_t pending_packets() const { return stamped_ - sent_bytes_ / stride_; }

  const TopicNames& topics_;
  const std::uint32_t run_;  // in the form of spread(), as sequence_ is
  const std::uint32_t first_stream_;
  const std::uint32_t first_topic_;
  const bool has_packet_id_;
  std::size_t stride_ = 0;
  std::size_t capacity_ = 0;
  std::size_t digits_at_ = 0;
  std::size_t packet_id_at_ = 0;
  std::size_t stamp_at_ = 0;
  std::unique_ptr<char[]> bytes_;

  std::size_t stamp_slot_ = 0;
  std::uint32_t topic_ = 0;
  std::uint64_t sequence_ = 0;
  std::uint64_t stamped_ = 0;     // packets
  std::uint64_t sent_bytes_ = 0;  // since the start
};

}  // namespace millrace::loadtest
