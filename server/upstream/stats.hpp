// UpstreamStats: what is counted for one upstream, for as long as it is configured.
//
// Threads: its I/O thread writes, but for what waits, which is the processor's; any thread reads.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "core/base/counter.hpp"
#include "core/broker/spool_figures.hpp"

namespace millrace::server {

// Why a message did not cross the link.
enum class LinkRefusal : std::uint8_t {
  hops,     // it has crossed too many links
  no_rule,  // it came, and no rule lets it in
  topic,    // it has no name on the other side, or none that may be published to
  // Over a link to NATS:
  reserved,   // its name begins with `$`, below which NATS has names of its own
  too_long,   // so would its subject be
  too_large,  // for the other side
  headers,    // what came has headers that are no properties
  overflow,   // it came faster than the processor takes such
  stream,     // JetStream refused it
};
inline constexpr std::array<const char*, 9> link_refusal_words = {
    "hops",      "no_rule", "topic",    "reserved", "too_long",
    "too_large", "headers", "overflow", "stream"};

struct UpstreamStats {
  base::Counter up;            // 1: the link is up
  base::Counter connects;      // it came up so often
  base::Counter failures;      // attempts that ended before it was up
  base::Counter messages_in;   // taken from the upstream
  base::Counter messages_out;  // handed over to be written to it
  base::Counter bytes_in;      // their payloads
  base::Counter bytes_out;
  base::Counter round_trip_ns;                                   // of the last PINGREQ
  std::array<base::Counter, link_refusal_words.size()> refused;  // by LinkRefusal
  const std::shared_ptr<broker::SpoolFigures> spool = std::make_shared<broker::SpoolFigures>();
};

}  // namespace millrace::server
