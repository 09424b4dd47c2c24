#include "loadtest/publish_ring.hpp"

#include <algorithm>

namespace millrace::loadtest {

PublishRing::PublishRing(const TopicNames& topics, const PublishShape& shape)
    : topics_(topics),
      run_(static_cast<std::uint32_t>(spread(shape.run))),
      first_stream_(shape.first_stream),
      first_topic_(shape.first_topic),
      has_packet_id_(shape.qos > 0),
      topic_(shape.first_topic) {
  const std::string payload(shape.payload_bytes, 'x');
  std::string packet = encode_publish(shape.version, topics.name(0), payload, shape.qos, 1);
  if (shape.retain) packet[0] = static_cast<char>(packet[0] | 0x01);

  stride_ = packet.size();
  stamp_at_ = stride_ - payload.size();
  PacketHead head{};
  read_head(packet.data(), packet.size(), head);
  packet_id_at_ = head.head_bytes + 2 + topics.length();
  digits_at_ = packet_id_at_ - kTopicDigits;

  capacity_ = std::max<std::size_t>(2, kRingBytes / stride_);
  bytes_ = std::make_unique<char[]>(capacity_ * stride_);
  for (std::size_t i = 0; i < capacity_; ++i) {
    std::memcpy(bytes_.get() + i * stride_, packet.data(), stride_);
  }
}

std::uint64_t PublishRing::stamped_of(std::uint32_t topic) const {
  const std::uint64_t count = topics_.count();
  const std::uint64_t turn = (topic + count - first_topic_) % count;  // its index within a round
  return stamped_ / count + (turn < stamped_ % count ? 1 : 0);
}

int PublishRing::unsent(iovec (&pieces)[2]) const {
  const std::size_t left = unsent_bytes();
  if (left == 0) return 0;
  const std::size_t ring_bytes = capacity_ * stride_;
  const std::size_t from = sent_bytes_ % ring_bytes;
  const std::size_t straight = std::min(left, ring_bytes - from);
  pieces[0] = {bytes_.get() + from, straight};
  if (straight == left) return 1;
  pieces[1] = {bytes_.get(), left - straight};
  return 2;
}

}  // namespace millrace::loadtest
