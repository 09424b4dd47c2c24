// [3] message: a PUBLISH as the server carries it from the receive buffer to the last subscriber.
//
// A Message is a value: a reference to the buffer that holds the packet's bytes, and where in the
// packet topic, properties and payload begin. The topic is spelled out (an alias was resolved) and
// there is no Topic Alias property.
//
// Threads: immutable once made; may be copied and dropped on any thread.
//
//   | fixed header | topic length | topic | packet id (QoS > 0) | properties (v5) | payload |
//   ^ packet_offset               ^ topic_offset                                  ^ payload_offset
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

#include "core/broker/buffer.hpp"
#include "protocol/publish.hpp"
#include "protocol/version.hpp"

namespace millrace::broker {

// Seconds of the server's monotonic clock, from 1 on; 0 means never.
using ExpirySeconds = std::uint32_t;
constexpr ExpirySeconds clock_seconds(std::int64_t now_ns) {
  return static_cast<ExpirySeconds>(now_ns / 1'000'000'000) + 1;
}

// All of a message but the reference to its bytes. A type of its own, so that it is trivially
// copyable and the compiler copies it as one block; next to a BufferRef, each bit-field would be
// copied by itself.
struct MessageFields {
  std::uint64_t topic_hash = 0;     // topic_hash() of topic()
  std::uint32_t packet_offset = 0;  // in the buffer
  std::uint32_t packet_bytes = 0;
  std::uint32_t payload_offset = 0;  // in the packet
  ExpirySeconds expires_at_s = 0;
  std::uint16_t topic_bytes = 0;
  std::uint16_t packet_id = 0;
  std::uint8_t topic_offset = 0;  // in the packet: 4 to 7
  std::uint8_t qos = 0;
  bool retain : 1 = false;
  bool duplicate : 1 = false;
  bool is_v5 : 1 = false;           // the packet has a property section
  bool has_properties : 1 = false;  // and it is not empty
  bool request : 1 = false;         // Response Topic or Correlation Data: never conflated
  // The whole packet is, bit for bit, what a server would encode of it at QoS 0: no DUP, no expiry
  // that counts down, no length in more bytes than it needs.
  bool may_pass_unchanged : 1 = false;
  // Fills the block up to 32 bytes. With 31, the compiler copies it as two overlapping moves, and
  // whoever reads a fresh copy waits until both have reached the cache.
  std::uint8_t unused = 0;
};
static_assert(std::is_trivially_copyable_v<MessageFields> && sizeof(MessageFields) == 32);

struct Message : MessageFields {
  BufferRef buffer;

  explicit operator bool() const { return static_cast<bool>(buffer); }

  const std::uint8_t* packet() const { return buffer->data() + packet_offset; }
  std::span<const std::uint8_t> packet_span() const { return {packet(), packet_bytes}; }
  std::string_view topic() const {
    return {reinterpret_cast<const char*>(packet()) + topic_offset, topic_bytes};
  }
  std::span<const std::uint8_t> payload() const {
    return {packet() + payload_offset, packet_bytes - payload_offset};
  }
  std::uint32_t payload_bytes() const { return packet_bytes - payload_offset; }
  // The v5 properties without their length; empty for 3.1.1. Their number does not matter.
  protocol::RawProperties properties() const;

  // The same message with the packet's bytes alone, in a buffer of exactly that size. For a message
  // that is stored (slot, retained, session queue), so that a small one never pins a large buffer.
  Message copy_to_keep() const;
  bool is_slice() const { return buffer->capacity() != packet_bytes; }
};

// Makes the message of a decoded packet that begins at `packet_offset` in `buffer`. The view's
// topic must be spelled out; takes over one reference of `buffer`, whose received_ns must be set.
// The packet may be changed in place: its Message Expiry Interval comes before a long list of other
// properties afterwards, and `view` is out of date then.
Message make_message(BufferRef buffer, std::uint32_t packet_offset, std::uint32_t packet_bytes,
                     const protocol::PublishView& view, protocol::Version version);

// Makes a message from parts (a resolved alias, $SYS, a local publisher): encodes its packet, in
// the shortest form, into a buffer of its own, received at `now_ns`.
struct MessageParts {
  std::string_view topic;
  std::span<const std::uint8_t> payload;
  protocol::RawProperties properties = {};  // a Topic Alias among them is left out
  std::uint8_t qos = 0;
  bool retain = false;
  bool duplicate = false;
  std::uint16_t packet_id = 0;
  protocol::Version version = protocol::Version::v5;
  std::uint16_t origin = 0;  // see Buffer::origin
};
Message build_message(const MessageParts& parts, std::int64_t now_ns);

// The packet of a message that a process before this one kept, as if it had been received at
// `now_ns`, with so much less of its Message Expiry Interval. Null: it is no PUBLISH.
BufferRef restore_packet(std::span<const std::uint8_t> packet, bool is_v5, std::int64_t now_ns,
                         std::uint64_t elapsed_s);

// The message that copy_to_keep() put into `kept`: all of it follows from the packet's bytes, its
// version and the time of receipt, so a stored value is one pointer.
Message message_of(BufferRef kept);

}  // namespace millrace::broker
