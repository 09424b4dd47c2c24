// ConnectionFacts: what the front-end of a session knows of its connection and the processor does
// not. Asked for by the management API, on the connection's own thread (Outbox::describe).
//
// Threads: plain values.
#pragma once

#include <cstdint>
#include <string>

namespace millrace::broker {

struct ConnectionFacts {
  std::string address;
  std::string listener;
  std::string transport;  // tcp, tls, ws, wss, http
  std::uint16_t port = 0;
  std::uint32_t keep_alive_seconds = 0;  // 0: none
  std::uint32_t silent_seconds = 0;      // since something came from the client
  std::uint32_t last_sent_seconds = 0;   // since something went to the client
  std::uint32_t connected_seconds = 0;
  std::uint64_t bytes_received = 0;
  std::uint64_t bytes_sent = 0;
  // PUBLISH packets, or values; a client's connection counts them modulo 2^32.
  std::uint64_t messages_received = 0;
  std::uint64_t messages_sent = 0;
};

}  // namespace millrace::broker
