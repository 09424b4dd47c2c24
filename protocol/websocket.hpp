// The frames of a WebSocket, for either end: what is received is unframed in place, so the payloads
// need no buffer of their own. The handshake is not here: it is HTTP.
//
// Pure: no socket, no clock. One thread for each reader. Source: RFC 6455, section 5.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>

namespace millrace::protocol::websocket {

enum class Opcode : std::uint8_t {
  continuation = 0x0,
  text = 0x1,
  binary = 0x2,
  close = 0x8,
  ping = 0x9,
  pong = 0xA,
};

// Which end we are. A client masks what it sends, a server does not. (RFC 6455, section 5.1)
enum class Role { client, server };

// RFC 6455, section 7.4.1: those that we say ourselves.
enum class CloseCode : std::uint16_t {
  normal = 1000,
  protocol_error = 1002,
  unsupported_data = 1003,
};

constexpr std::size_t control_payload_bytes_max = 125;

// The header of a whole message in one frame, unmasked, as a server sends it. Returns its bytes.
constexpr std::size_t sent_header_bytes_max = 10;
std::size_t encode_header(Opcode opcode, std::size_t payload_bytes,
                          std::span<std::uint8_t, sent_header_bytes_max> out) noexcept;

// The same as a client sends it: the payload that follows must be masked with `mask`, which is
// fresh for each frame and which nobody can foretell.
constexpr std::size_t masked_header_bytes_max = sent_header_bytes_max + 4;
std::size_t encode_header(Opcode opcode, std::size_t payload_bytes, std::uint32_t mask,
                          std::span<std::uint8_t, masked_header_bytes_max> out) noexcept;

// Masks or unmasks `count` bytes of a payload (the two are one operation) from `from` to `to`,
// which may overlap if `to` lies first. Returns the mask for the bytes that come next.
std::uint32_t apply_mask(std::uint32_t mask, const std::uint8_t* from, std::uint8_t* to,
                         std::size_t count) noexcept;

// A whole close frame.
std::string encode_close(CloseCode code);

class FrameReader {
 public:
  explicit FrameReader(Role role = Role::server) : role_(role) {}

  // Takes the next received bytes, in any pieces. The payloads of the binary frames among them
  // stand, unmasked, at the front of `bytes` afterwards; returns how many bytes that is. The rest
  // of `bytes` is undefined. Once over() nothing more is taken.
  std::size_t unframe(std::span<std::uint8_t> bytes);

  // The answer that a ping or a close frame asks for, whole and ready to be sent; empty: none. A
  // later ping's takes the place of an earlier one's (section 5.5.3). A client gives the mask that
  // it is sent with.
  std::string take_answer(std::optional<std::uint32_t> mask = std::nullopt);

  // The peer sent its close frame, or broke the rules.
  bool over() const { return ended_ || fault_; }
  // What to close with, because the peer broke the rules: 1002, or 1003 for a text frame, which
  // MQTT forbids [MQTT-6.0.0-1].
  std::optional<CloseCode> fault() const { return fault_; }

 private:
  static constexpr std::size_t header_bytes_max = masked_header_bytes_max;

  // How long the header is, as far as its first bytes tell. At least 2.
  static std::size_t header_bytes(const std::uint8_t* head, std::size_t count);
  std::size_t take_header(std::span<const std::uint8_t> bytes);
  void begin_frame(const std::uint8_t* header, std::size_t count);
  bool begin_data(Opcode opcode, bool final);
  void end_control();
  void break_off(CloseCode code) { fault_ = code; }

  const Role role_;
  std::uint64_t payload_left_ = 0;
  std::uint32_t mask_ = 0;  // turned, so that its first byte in memory is the next one's
  std::array<std::uint8_t, header_bytes_max> header_{};  // of a frame whose header came in pieces
  std::uint8_t header_held_ = 0;
  Opcode control_opcode_ =
      Opcode::continuation;  // of the frame at hand; `continuation`: it is data
  bool in_message_ = false;  // the last data frame was not the final one
  bool ended_ = false;
  std::optional<CloseCode> fault_;
  std::string control_;  // the payload of a control frame, as far as it came
  Opcode answer_opcode_ = Opcode::continuation;  // of the answer; `continuation`: there is none
  std::string answer_;                           // its payload
};

}  // namespace millrace::protocol::websocket
