// WebSocket framing, for clients and servers. Received frames are unframed in place, so payloads
// need no separate buffer. The handshake is not part of this: it is HTTP.
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

// The local end's role. A client masks what it sends, a server does not. (RFC 6455, section 5.1)
enum class Role { client, server };

// RFC 6455, section 7.4.1: the codes that this code sends.
enum class CloseCode : std::uint16_t {
  normal = 1000,
  protocol_error = 1002,
  unsupported_data = 1003,
};

constexpr std::size_t control_payload_bytes_max = 125;

// The header of a whole message in one frame, unmasked, as a server sends it. Returns its length.
constexpr std::size_t sent_header_bytes_max = 10;
std::size_t encode_header(Opcode opcode, std::size_t payload_bytes,
                          std::span<std::uint8_t, sent_header_bytes_max> out) noexcept;

// The same as a client sends it: the payload that follows must be masked with `mask`, which must be
// new for each frame and unpredictable (section 5.3).
constexpr std::size_t masked_header_bytes_max = sent_header_bytes_max + 4;
std::size_t encode_header(Opcode opcode, std::size_t payload_bytes, std::uint32_t mask,
                          std::span<std::uint8_t, masked_header_bytes_max> out) noexcept;

// Masks or unmasks `count` bytes of a payload (the two are one operation) from `from` to `to`,
// which may overlap if `to` is the lower address. Returns the mask for the bytes that follow.
std::uint32_t apply_mask(std::uint32_t mask, const std::uint8_t* from, std::uint8_t* to,
                         std::size_t count) noexcept;

// A whole close frame. A client passes the mask for it.
std::string encode_close(CloseCode code, std::optional<std::uint32_t> mask = std::nullopt);

class FrameReader {
 public:
  explicit FrameReader(Role role = Role::server) : role_(role) {}

  // Processes the next received bytes, in pieces of any size. Afterwards `bytes` begins with the
  // unmasked payloads of the binary frames; returns how many bytes that is. The rest of `bytes` is
  // unspecified. Once over() is true, nothing more is processed.
  std::size_t unframe(std::span<std::uint8_t> bytes);

  // The complete frame that answers a received ping or close frame; empty: none. The answer to a
  // later ping replaces that to an earlier one (section 5.5.3). A client passes the mask for it.
  std::string take_answer(std::optional<std::uint32_t> mask = std::nullopt);

  // The peer sent its close frame, or violated the protocol.
  bool over() const { return ended_ || fault_; }
  // The code to close with after a protocol violation: 1002, or 1003 for a text frame, which MQTT
  // forbids [MQTT-6.0.0-1].
  std::optional<CloseCode> fault() const { return fault_; }

 private:
  static constexpr std::size_t header_bytes_max = masked_header_bytes_max;

  // The header's length as far as its first `count` bytes determine it. At least 2.
  static std::size_t header_bytes(const std::uint8_t* head, std::size_t count);
  std::size_t take_header(std::span<const std::uint8_t> bytes);
  void begin_frame(const std::uint8_t* header, std::size_t count);
  bool begin_data(Opcode opcode, bool final);
  void end_control();
  void break_off(CloseCode code) { fault_ = code; }

  const Role role_;
  std::uint64_t payload_left_ = 0;
  // Rotated, so that its first byte in memory is for the next payload byte.
  std::uint32_t mask_ = 0;
  std::array<std::uint8_t, header_bytes_max> header_{};  // an incomplete header, header_held_ bytes
  std::uint8_t header_held_ = 0;
  // The present frame's opcode if it is a control frame; `continuation` if it is a data frame.
  Opcode control_opcode_ = Opcode::continuation;
  bool in_message_ = false;  // the last data frame was not the final one of its message
  bool ended_ = false;
  std::optional<CloseCode> fault_;
  std::string control_;  // the payload of a control frame, as far as received
  Opcode answer_opcode_ = Opcode::continuation;  // `continuation`: there is no answer
  std::string answer_;                           // the answer's payload
};

}  // namespace millrace::protocol::websocket
