// The header that a TCP proxy puts in front of a connection, to say whose it is: the PROXY protocol,
// version 1 (text) and 2 (binary). Bytes in, address out; no socket. Pure; any thread.
//
// Source: https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "server/net/peer_address.hpp"

namespace millrace::server {

// The longest header that is read, with its extensions (TLV), which are skipped.
inline constexpr std::size_t proxy_header_bytes_max = 2048;

struct ProxyHeader {
  enum class Status : std::uint8_t { incomplete, invalid, whole };
  Status status = Status::invalid;
  std::size_t bytes = 0;               // of a whole one
  std::optional<PeerAddress> address;  // nothing: the proxy speaks for itself, or does not know
};

// Of what begins with a header; what stands behind it is not looked at.
ProxyHeader parse_proxy_header(std::span<const std::uint8_t> received);

}  // namespace millrace::server
