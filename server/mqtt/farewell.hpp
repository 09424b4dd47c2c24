// The last packet of a connection: CONNACK that refuses, or DISCONNECT. Source: MQTT 5.0 sections
// 3.2.2.2, 3.14.2.1 and 4.11. Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "protocol/reason_code.hpp"
#include "protocol/version.hpp"

namespace millrace::server {

struct Farewell {
  protocol::Version version;
  protocol::ReasonCode reason;
  std::uint32_t packet_bytes_max = 0;  // the client's Maximum Packet Size; 0: none
  // Where the client may go instead; empty: nowhere.
  std::string server_reference;
  // For DISCONNECT, where the code says less than is known; empty: nothing. It is left out where the
  // client takes no packet so large.
  std::string reason_string;
};

std::vector<std::uint8_t> encode_refusal(const Farewell& farewell);
// Empty in MQTT 3, whose servers have no DISCONNECT.
std::vector<std::uint8_t> encode_disconnect(const Farewell& farewell);

}  // namespace millrace::server
