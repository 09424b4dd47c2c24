// SpoolFigures: what waits in one session, and what was dropped there, for a front-end that shows it
// by name: a link to another broker. Clients have none: there may be a million of them.
//
// Threads: the processor's holder writes; any reads.
#pragma once

#include <array>
#include <cstddef>

#include "core/broker/stats.hpp"

namespace millrace::broker {

struct SpoolFigures {
  Counter messages;  // that wait
  Counter bytes;
  Counter since_ns;   // since when the first of them does; 0: nothing waits
  Counter conflated;  // replaced by newer values of their topics
  std::array<Counter, static_cast<std::size_t>(Drop::count)> dropped;
};

}  // namespace millrace::broker
