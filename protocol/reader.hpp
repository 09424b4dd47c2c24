// Reads the fields of a packet; only for the decoders of protocol/. One thread.
//
// A Reader never reads beyond its bytes. After the first fault every field is empty or zero and
// fault() is the reason, so a decoder reads a group of fields and checks once. Source: MQTT 5.0
// section 1.5 (3.1.1: 1.5 and 2.2.3).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "protocol/reason_code.hpp"
#include "protocol/utf8.hpp"

namespace millrace::protocol::detail {

class Reader {
 public:
  explicit Reader(std::span<const std::uint8_t> bytes) noexcept
      : begin_(bytes.data()), at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  [[nodiscard]] bool ok() const noexcept { return fault_ == ReasonCode::success; }
  [[nodiscard]] ReasonCode fault() const noexcept { return fault_; }
  [[nodiscard]] bool at_end() const noexcept { return at_ == end_; }
  [[nodiscard]] std::size_t left() const noexcept { return static_cast<std::size_t>(end_ - at_); }
  [[nodiscard]] std::size_t offset() const noexcept {
    return static_cast<std::size_t>(at_ - begin_);
  }

  void fail(ReasonCode code) noexcept {
    if (ok()) fault_ = code;
    at_ = end_;
  }

  std::uint8_t byte() noexcept {
    if (!has(1)) return 0;
    return *at_++;
  }

  std::uint16_t two_bytes() noexcept {
    if (!has(2)) return 0;
    const auto value = static_cast<std::uint16_t>(at_[0] << 8 | at_[1]);
    at_ += 2;
    return value;
  }

  std::uint32_t four_bytes() noexcept {
    if (!has(4)) return 0;
    const std::uint32_t value = static_cast<std::uint32_t>(at_[0]) << 24 |
                                static_cast<std::uint32_t>(at_[1]) << 16 |
                                static_cast<std::uint32_t>(at_[2]) << 8 | at_[3];
    at_ += 4;
    return value;
  }

  // Variable Byte Integer: at most four bytes, and the shortest form. [MQTT-1.5.5-1]
  std::uint32_t variable() noexcept {
    std::uint32_t value = 0;
    for (unsigned shift = 0; shift < 28; shift += 7) {
      if (!has(1)) return 0;
      const std::uint8_t digits = *at_++;
      value |= static_cast<std::uint32_t>(digits & 0x7F) << shift;
      if ((digits & 0x80) == 0) {
        if (digits == 0 && shift != 0) break;
        return value;
      }
    }
    fail(ReasonCode::malformed_packet);
    return 0;
  }

  // A length of two bytes, then any bytes.
  std::string_view binary() noexcept {
    const std::size_t count = two_bytes();
    if (!has(count)) return {};
    const std::string_view value(reinterpret_cast<const char*>(at_), count);
    at_ += count;
    return value;
  }

  // The same, and the bytes must be UTF-8 as MQTT requires it (utf8.hpp).
  std::string_view text() noexcept {
    const std::string_view value = binary();
    if (valid_utf8(value)) return value;
    fail(ReasonCode::malformed_packet);
    return {};
  }

  std::span<const std::uint8_t> bytes(std::size_t count) noexcept {
    if (!has(count)) return {};
    const std::span<const std::uint8_t> value(at_, count);
    at_ += count;
    return value;
  }

  std::span<const std::uint8_t> rest() noexcept { return bytes(left()); }

  // A packet with bytes after its last field is malformed.
  void expect_end() noexcept {
    if (!at_end()) fail(ReasonCode::malformed_packet);
  }

  // A packet identifier, which is never 0. [MQTT-2.2.1-3] (3.1.1: [MQTT-2.3.1-1])
  std::uint16_t packet_id() noexcept {
    const std::uint16_t value = two_bytes();
    if (value == 0) fail(ReasonCode::protocol_error);
    return value;
  }

 private:
  bool has(std::size_t count) noexcept {
    if (left() >= count) [[likely]]
      return true;
    fail(ReasonCode::malformed_packet);
    return false;
  }

  const std::uint8_t* begin_;
  const std::uint8_t* at_;
  const std::uint8_t* end_;
  ReasonCode fault_ = ReasonCode::success;
};

}  // namespace millrace::protocol::detail
