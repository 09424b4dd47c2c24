#include "protocol/websocket.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string_view>

namespace millrace::protocol::websocket {

namespace {

constexpr std::uint8_t final_bit = 0x80;
constexpr std::uint8_t reserved_bits = 0x70;
constexpr std::uint8_t mask_bit = 0x80;
constexpr std::uint8_t length_bits = 0x7F;
constexpr std::uint8_t length_in_2_bytes = 126;
constexpr std::uint8_t length_in_8_bytes = 127;
constexpr std::size_t mask_bytes = 4;

std::uint64_t read_big_endian(const std::uint8_t* at, std::size_t count) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < count; ++i) value = value << 8 | at[i];
  return value;
}

void write_big_endian(std::uint64_t value, std::uint8_t* at, std::size_t count) {
  for (std::size_t i = count; i > 0; --i, value >>= 8) {
    at[i - 1] = static_cast<std::uint8_t>(value);
  }
}

constexpr bool is_control(Opcode opcode) {
  return static_cast<std::uint8_t>(opcode) >= 0x8;
}

// The codes that are allowed in a close frame. (Section 7.4)
bool may_be_sent(std::uint64_t code) {
  if (code >= 3000 && code <= 4999) return true;
  return code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006;
}

std::string whole_frame(Opcode opcode, std::string_view payload,
                        std::optional<std::uint32_t> mask = std::nullopt) {
  std::array<std::uint8_t, masked_header_bytes_max> header;
  const std::span out(header);
  const std::size_t bytes =
      mask ? encode_header(opcode, payload.size(), *mask, out)
           : encode_header(opcode, payload.size(), out.first<sent_header_bytes_max>());
  std::string frame(reinterpret_cast<const char*>(header.data()), bytes);
  frame.append(payload);
  if (mask) {
    auto* const masked = reinterpret_cast<std::uint8_t*>(frame.data()) + bytes;
    apply_mask(*mask, masked, masked, payload.size());
  }
  return frame;
}

}  // namespace

std::size_t encode_header(Opcode opcode, std::size_t payload_bytes,
                          std::span<std::uint8_t, sent_header_bytes_max> out) noexcept {
  out[0] = final_bit | static_cast<std::uint8_t>(opcode);
  if (payload_bytes < length_in_2_bytes) {
    out[1] = static_cast<std::uint8_t>(payload_bytes);
    return 2;
  }
  const bool small = payload_bytes <= 0xFFFF;
  const std::size_t length_bytes = small ? 2 : 8;
  out[1] = small ? length_in_2_bytes : length_in_8_bytes;
  write_big_endian(payload_bytes, &out[2], length_bytes);
  return 2 + length_bytes;
}

std::size_t encode_header(Opcode opcode, std::size_t payload_bytes, std::uint32_t mask,
                          std::span<std::uint8_t, masked_header_bytes_max> out) noexcept {
  const std::size_t bytes =
      encode_header(opcode, payload_bytes, out.first<sent_header_bytes_max>());
  out[1] |= mask_bit;
  std::memcpy(&out[bytes], &mask, mask_bytes);
  return bytes + mask_bytes;
}

// Each word is loaded before it is stored, and is stored below the words that are loaded next, so
// `to` may overlap `from` if it is the lower address.
std::uint32_t apply_mask(std::uint32_t mask, const std::uint8_t* from, std::uint8_t* to,
                         std::size_t count) noexcept {
  const std::uint64_t wide = std::uint64_t{mask} << 32 | mask;
  std::size_t at = 0;
  for (; at + sizeof wide <= count; at += sizeof wide) {
    std::uint64_t word;
    std::memcpy(&word, from + at, sizeof word);
    word ^= wide;
    std::memcpy(to + at, &word, sizeof word);
  }
  std::array<std::uint8_t, sizeof wide> rest;
  std::memcpy(rest.data(), &wide, sizeof wide);
  for (std::size_t i = 0; at < count; ++i, ++at) to[at] = from[at] ^ rest[i];
  const int turn = static_cast<int>(count % mask_bytes) * 8;
  return std::endian::native == std::endian::little ? std::rotr(mask, turn) : std::rotl(mask, turn);
}

std::string encode_close(CloseCode code, std::optional<std::uint32_t> mask) {
  std::array<std::uint8_t, 2> payload;
  write_big_endian(static_cast<std::uint16_t>(code), payload.data(), payload.size());
  return whole_frame(Opcode::close, {reinterpret_cast<const char*>(payload.data()), payload.size()},
                     mask);
}

std::size_t FrameReader::unframe(std::span<std::uint8_t> bytes) {
  std::size_t in = 0;
  std::size_t out = 0;
  while (in < bytes.size() && !over()) {
    if (payload_left_ == 0) {
      in += take_header(bytes.subspan(in));
      continue;
    }
    const auto count =
        static_cast<std::size_t>(std::min<std::uint64_t>(payload_left_, bytes.size() - in));
    payload_left_ -= count;
    if (is_control(control_opcode_)) {
      const std::size_t held = control_.size();
      control_.resize(held + count);
      mask_ = apply_mask(mask_, &bytes[in], reinterpret_cast<std::uint8_t*>(control_.data()) + held,
                         count);
      if (payload_left_ == 0) end_control();
    } else {
      mask_ = apply_mask(mask_, &bytes[in], &bytes[out], count);
      out += count;
    }
    in += count;
  }
  return out;
}

// --- Headers -------------------------------------------------------------------------------------

std::size_t FrameReader::header_bytes(const std::uint8_t* head, std::size_t count) {
  if (count < 2) return 2;
  const std::uint8_t length = head[1] & length_bits;
  const std::size_t more = length == length_in_8_bytes ? 8 : length == length_in_2_bytes ? 2 : 0;
  return 2 + more + ((head[1] & mask_bit) != 0 ? mask_bytes : 0);
}

// Returns how many bytes it consumed.
std::size_t FrameReader::take_header(std::span<const std::uint8_t> bytes) {
  if (header_held_ == 0) {
    const std::size_t needed = header_bytes(bytes.data(), bytes.size());
    if (bytes.size() >= needed) {
      begin_frame(bytes.data(), needed);
      return needed;
    }
  }
  // The header comes in pieces: collect it over several calls.
  std::size_t used = 0;
  std::size_t needed = header_bytes(header_.data(), header_held_);
  while (used < bytes.size() && header_held_ < needed) {
    header_[header_held_++] = bytes[used++];
    needed = header_bytes(header_.data(), header_held_);
  }
  if (header_held_ == needed) {
    header_held_ = 0;
    begin_frame(header_.data(), needed);
  }
  return used;
}

void FrameReader::begin_frame(const std::uint8_t* header, std::size_t count) {
  const auto opcode = static_cast<Opcode>(header[0] & 0x0F);
  const bool final = (header[0] & final_bit) != 0;
  const bool masked = (header[1] & mask_bit) != 0;
  const std::size_t length_bytes = count - 2 - (masked ? mask_bytes : 0);
  const std::uint64_t length =
      length_bytes == 0 ? header[1] & length_bits : read_big_endian(header + 2, length_bytes);
  // A length must be in its shortest form and at most 63 bits. (Section 5.2)
  const bool wasteful = (length_bytes == 2 && length < length_in_2_bytes) ||
                        (length_bytes == 8 && length <= 0xFFFF) || (length >> 63) != 0;
  const bool as_the_role_asks = masked == (role_ == Role::server);  // (section 5.1)
  if ((header[0] & reserved_bits) != 0 || wasteful || !as_the_role_asks) {
    return break_off(CloseCode::protocol_error);
  }

  if (is_control(opcode)) {
    const bool known = opcode == Opcode::close || opcode == Opcode::ping || opcode == Opcode::pong;
    if (!known || !final || length > control_payload_bytes_max) {
      return break_off(CloseCode::protocol_error);
    }
    control_opcode_ = opcode;
  } else {
    if (!begin_data(opcode, final)) return;
    control_opcode_ = Opcode::continuation;
  }
  payload_left_ = length;
  if (masked) std::memcpy(&mask_, header + count - mask_bytes, mask_bytes);
  if (is_control(opcode) && length == 0) end_control();
}

bool FrameReader::begin_data(Opcode opcode, bool final) {
  const bool continues = opcode == Opcode::continuation;
  if (opcode > Opcode::binary || continues != in_message_) {
    break_off(CloseCode::protocol_error);
    return false;
  }
  if (opcode == Opcode::text) {
    break_off(CloseCode::unsupported_data);
    return false;
  }
  in_message_ = !final;
  return true;
}

// --- Payloads ------------------------------------------------------------------------------------

std::string FrameReader::take_answer(std::optional<std::uint32_t> mask) {
  if (answer_opcode_ == Opcode::continuation) return {};
  return whole_frame(std::exchange(answer_opcode_, Opcode::continuation),
                     std::exchange(answer_, {}), mask);
}

void FrameReader::end_control() {
  const std::string payload = std::exchange(control_, {});
  switch (control_opcode_) {
    case Opcode::ping:
      answer_opcode_ = Opcode::pong;
      answer_ = payload;
      break;
    case Opcode::close: {
      const auto* bytes = reinterpret_cast<const std::uint8_t*>(payload.data());
      // The answer repeats the code, without the peer's reason text.
      const bool coded = payload.size() >= 2;
      if (payload.size() == 1 || (coded && !may_be_sent(read_big_endian(bytes, 2)))) {
        return break_off(CloseCode::protocol_error);
      }
      answer_opcode_ = Opcode::close;
      answer_ = payload.substr(0, 2);
      ended_ = true;
      break;
    }
    default:
      break;  // an unsolicited pong
  }
}

}  // namespace millrace::protocol::websocket
