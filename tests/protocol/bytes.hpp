// The notation for packets in the tests of protocol/: written by hand, byte for byte, so that
// decoders are not tested with the project's own encoders.
//
//   10 { "MQTT" 04 02 003c "id" }
//
// Hex digits in pairs; "text" is two bytes of length and the text; 'text' is only the text; { ... }
// is the length of the content in braces as a Variable Byte Integer, and then the content.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <ostream>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/decode.hpp"
#include "protocol/encode.hpp"

namespace millrace::protocol {

// For gtest's messages.
inline void PrintTo(ReasonCode code, std::ostream* out) {
  *out << to_string(code);
}
inline void PrintTo(Version version, std::ostream* out) {
  *out << to_string(version);
}

}  // namespace millrace::protocol

namespace millrace::protocol::test {

using Bytes = std::vector<std::uint8_t>;

class BytesParser {
 public:
  explicit BytesParser(std::string_view text) : rest_(text) {}

  Bytes sequence(bool nested) {
    Bytes out;
    for (;;) {
      while (!rest_.empty() && (rest_[0] == ' ' || rest_[0] == '\n')) rest_.remove_prefix(1);
      if (rest_.empty() || rest_[0] == '}') {
        if (rest_.empty() == nested) throw std::invalid_argument("braces do not match");
        if (nested) rest_.remove_prefix(1);
        return out;
      }
      element(out);
    }
  }

 private:
  void element(Bytes& out) {
    const char first = rest_[0];
    if (first == '{') {
      rest_.remove_prefix(1);
      const Bytes inside = sequence(true);
      std::size_t count = inside.size();
      for (; count >= 0x80; count >>= 7) out.push_back(static_cast<std::uint8_t>(count | 0x80));
      out.push_back(static_cast<std::uint8_t>(count));
      out.insert(out.end(), inside.begin(), inside.end());
    } else if (first == '"' || first == '\'') {
      const std::size_t end = rest_.find(first, 1);
      const std::string_view text = rest_.substr(1, end - 1);
      if (first == '"') {
        out.push_back(static_cast<std::uint8_t>(text.size() >> 8));
        out.push_back(static_cast<std::uint8_t>(text.size()));
      }
      out.insert(out.end(), text.begin(), text.end());
      rest_.remove_prefix(end + 1);
    } else {
      std::size_t used = 0;
      const std::string pair(rest_.substr(0, 2));
      out.push_back(static_cast<std::uint8_t>(std::stoul(pair, &used, 16)));
      if (used != 2) throw std::invalid_argument("hex digits come in pairs");
      rest_.remove_prefix(2);
    }
  }

  std::string_view rest_;
};

inline Bytes bytes(std::string_view text) {
  return BytesParser(text).sequence(false);
}

// Frames and decodes one whole packet.
inline Result<Packet> decode_bytes(std::span<const std::uint8_t> packet, Version version,
                                   Sender sender) {
  const auto found = frame(packet, packet_bytes_limit, version);
  if (found.has_error()) return found.error();
  if (!*found || (*found)->packet_bytes != packet.size()) {
    throw std::invalid_argument("the test did not write exactly one packet");
  }
  return decode(**found, packet, version, sender);
}

inline Result<Packet> decode_text(std::string_view text, Version version,
                                  Sender sender = Sender::client) {
  return decode_bytes(bytes(text), version, sender);
}

inline Bytes encoded(const Packet& packet, Version version) {
  Bytes out;
  encode(packet, version, out);
  return out;
}

// One row of a table of malformed packets.
struct Fault {
  const char* what;
  const char* packet;
  ReasonCode reason;
  Version version = Version::v5;
  Sender sender = Sender::client;
};

inline void expect_faults(std::initializer_list<Fault> faults) {
  for (const Fault& fault : faults) {
    SCOPED_TRACE(fault.what);
    const auto packet = decode_text(fault.packet, fault.version, fault.sender);
    if (packet.has_value()) {
      ADD_FAILURE() << "was accepted";
    } else {
      EXPECT_EQ(packet.error(), fault.reason);
    }
  }
}

// One row of a table of valid packets: decode gives `meaning`, and encode gives the bytes.
struct Good {
  const char* what;
  const char* packet;
  Packet meaning;
  Version version = Version::v5;
  Sender sender = Sender::client;
};

inline void expect_good(const std::vector<Good>& rows) {
  for (const Good& row : rows) {
    SCOPED_TRACE(row.what);
    const auto packet = decode_text(row.packet, row.version, row.sender);
    if (packet.has_error()) {
      ADD_FAILURE() << "was refused: " << to_string(packet.error());
      continue;
    }
    EXPECT_TRUE(*packet == row.meaning) << "means something else";
    EXPECT_EQ(encoded(row.meaning, row.version), bytes(row.packet));
  }
}

}  // namespace millrace::protocol::test
