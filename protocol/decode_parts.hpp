// Declarations shared by the decoder's files: one function for each packet type, and the reading of
// properties. Pure; any thread.
//
// Every function gets a Reader that starts after the fixed header and ends with the packet.
#pragma once

#include "protocol/decode.hpp"
#include "protocol/reader.hpp"

namespace millrace::protocol::detail {

struct DecodeContext {
  Version version;
  Sender sender;

  [[nodiscard]] bool v5() const noexcept { return version == Version::v5; }
};

// Reads the length and the properties in MQTT 5; reads nothing in 3.x.
inline Properties read_properties(Reader& reader, PropertyScope scope, DecodeContext context) {
  if (!context.v5()) return {};
  const auto bytes = reader.bytes(reader.variable());
  Result<Properties> properties = decode_properties(bytes, scope, context.sender);
  if (properties.has_error()) {
    reader.fail(properties.error());
    return {};
  }
  return *std::move(properties);
}

// decode_connect.cpp
[[nodiscard]] Result<Packet> decode_connect(const Frame& frame, Reader& reader);
[[nodiscard]] Result<Packet> decode_connack(Reader& reader, DecodeContext context);
[[nodiscard]] Result<Packet> decode_disconnect(Reader& reader, DecodeContext context);
[[nodiscard]] Result<Packet> decode_auth(Reader& reader, DecodeContext context);

// decode_subscribe.cpp
[[nodiscard]] Result<Packet> decode_subscribe(Reader& reader, DecodeContext context);
[[nodiscard]] Result<Packet> decode_suback(Reader& reader, DecodeContext context);
[[nodiscard]] Result<Packet> decode_unsubscribe(Reader& reader, DecodeContext context);
[[nodiscard]] Result<Packet> decode_unsuback(Reader& reader, DecodeContext context);

}  // namespace millrace::protocol::detail
