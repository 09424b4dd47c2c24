// Writes the fields of a packet; only for the encoders of protocol/. One thread.
//
// Two kinds: functions over a raw pointer, whose caller has computed the size (the hot path), and a
// Writer that appends to a vector and fills in lengths afterwards (all other packets).
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "protocol/frame.hpp"
#include "protocol/require.hpp"

namespace millrace::protocol::detail {

[[nodiscard]] constexpr std::size_t variable_bytes(std::size_t value) noexcept {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x20'0000 ? 3 : 4;
}

inline std::uint8_t* put_byte(std::uint8_t* out, unsigned value) noexcept {
  *out = static_cast<std::uint8_t>(value);
  return out + 1;
}

inline std::uint8_t* put_two_bytes(std::uint8_t* out, unsigned value) noexcept {
  out[0] = static_cast<std::uint8_t>(value >> 8);
  out[1] = static_cast<std::uint8_t>(value);
  return out + 2;
}

inline std::uint8_t* put_four_bytes(std::uint8_t* out, std::uint32_t value) noexcept {
  return put_two_bytes(put_two_bytes(out, value >> 16), value);
}

inline std::uint8_t* put_variable(std::uint8_t* out, std::size_t value) noexcept {
  while (value >= 0x80) {
    *out++ = static_cast<std::uint8_t>(value | 0x80);
    value >>= 7;
  }
  return put_byte(out, static_cast<unsigned>(value));
}

// memcpy, but allows a null pointer if `count` is 0.
inline std::uint8_t* put_bytes(std::uint8_t* out, const void* bytes, std::size_t count) noexcept {
  if (count != 0) std::memcpy(out, bytes, count);
  return out + count;
}

class Writer {
 public:
  explicit Writer(std::vector<std::uint8_t>& out) noexcept : out_(out) {}

  void byte(unsigned value) { out_.push_back(static_cast<std::uint8_t>(value)); }

  void two_bytes(unsigned value) {
    byte(value >> 8);
    byte(value);
  }

  void four_bytes(std::uint32_t value) {
    two_bytes(value >> 16);
    two_bytes(value & 0xFFFF);
  }

  void variable(std::size_t value) {
    std::uint8_t digits[4];
    out_.insert(out_.end(), digits, put_variable(digits, value));
  }

  void raw(std::string_view bytes) { out_.insert(out_.end(), bytes.begin(), bytes.end()); }

  // Text or binary data: a length of two bytes, then the bytes.
  void text(std::string_view value) {
    require(value.size() <= 0xFFFF, "a field of an MQTT packet holds at most 65,535 bytes");
    two_bytes(static_cast<unsigned>(value.size()));
    raw(value);
  }

  // Runs `body` and inserts the length of what it wrote before that. The bytes are moved only if
  // the length needs more than one byte, which is rare.
  template <class Body>
  void with_length(Body&& body) {
    const std::size_t length_at = out_.size();
    byte(0);
    body();
    const std::size_t length = out_.size() - length_at - 1;
    require(length <= remaining_bytes_max, "an MQTT packet holds at most 268,435,455 bytes");
    const std::size_t length_bytes = variable_bytes(length);
    out_.insert(out_.begin() + static_cast<std::ptrdiff_t>(length_at), length_bytes - 1, 0);
    put_variable(out_.data() + length_at, length);
  }

 private:
  std::vector<std::uint8_t>& out_;
};

}  // namespace millrace::protocol::detail
