// The stamp at the beginning of each payload, which identifies the message and holds its intended
// and its actual send time; and the names of the generator's topics. Any thread.
//
// Topic i is "<prefix>/<i as 8 digits>": all topics have the same length, hence all packets too,
// and one 8-byte store sets the topic of a prepared packet.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "loadtest/clock.hpp"

namespace millrace::loadtest {

struct Stamp {
  std::uint32_t run;     // random for each run: a message with another value is foreign
  std::uint32_t stream;  // publisher * topics + topic
  std::uint64_t sequence;
  Nanos intended_ns;  // the scheduled send time (closed loop: the actual one)
  Nanos sent_ns;      // when it was written to the socket
};

// The stamp's encoding in the payload: seven bits a byte, so that the payload is plain ASCII. Some
// brokers check or print payloads as text, and a simple forwarder may look for a byte with high
// bits to find the beginning of a packet.
struct WireStamp {
  std::uint32_t run;
  std::uint32_t stream;
  std::uint64_t sequence;
  std::uint64_t intended;
  std::uint64_t sent;
};
static_assert(sizeof(WireStamp) == 32);
inline constexpr std::size_t kStampBytes = sizeof(WireStamp);
inline constexpr std::uint32_t kStreamsMax = 1u << 28;

// Distributes 56 bits over 8 bytes of 7 bits, lowest first. 2^56 ns are two years of uptime.
inline std::uint64_t spread(std::uint64_t x) {
  x = (x & 0x0000'0000'0FFF'FFFF) | (x & 0x00FF'FFFF'F000'0000) << 4;
  x = (x & 0x0000'3FFF'0000'3FFF) | (x & 0x0FFF'C000'0FFF'C000) << 2;
  return (x & 0x007F'007F'007F'007F) | (x & 0x3F80'3F80'3F80'3F80) << 1;
}
inline std::uint64_t gather(std::uint64_t x) {
  x = (x & 0x007F'007F'007F'007F) | (x & 0x7F00'7F00'7F00'7F00) >> 1;
  x = (x & 0x0000'3FFF'0000'3FFF) | (x & 0x3FFF'0000'3FFF'0000) >> 2;
  return (x & 0x0000'0000'0FFF'FFFF) | (x & 0x0FFF'FFFF'0000'0000) >> 4;
}
// Increments a spread number: the top bits are set first, so that a carry passes through them.
inline std::uint64_t spread_next(std::uint64_t x) {
  return ((x | 0x8080'8080'8080'8080) + 1) & 0x7F7F'7F7F'7F7F'7F7F;
}

inline constexpr std::size_t kTopicDigits = 8;

class TopicNames {
 public:
  TopicNames(std::string prefix, std::uint32_t count) : prefix_(std::move(prefix) + "/") {
    digits_.resize(count);
    for (std::uint32_t i = 0; i < count; ++i) {
      char text[16];
      std::snprintf(text, sizeof text, "%08u", i);
      std::memcpy(&digits_[i], text, kTopicDigits);
    }
  }

  std::uint32_t count() const { return static_cast<std::uint32_t>(digits_.size()); }
  std::size_t length() const { return prefix_.size() + kTopicDigits; }
  const std::uint64_t& digits(std::uint32_t topic) const { return digits_[topic]; }

  std::string name(std::uint32_t topic) const {
    std::string out = prefix_;
    out.append(reinterpret_cast<const char*>(&digits_[topic]), kTopicDigits);
    return out;
  }
  std::string wildcard() const { return prefix_ + "#"; }

  bool is(std::uint32_t topic, const char* text, std::size_t text_bytes) const {
    return text_bytes == length() &&
           std::memcmp(text + prefix_.size(), &digits_[topic], kTopicDigits) == 0 &&
           std::memcmp(text, prefix_.data(), prefix_.size()) == 0;
  }

 private:
  std::string prefix_;
  std::vector<std::uint64_t> digits_;
};

}  // namespace millrace::loadtest
