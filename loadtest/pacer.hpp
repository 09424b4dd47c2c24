// Who sends the next message, and when: the two ways to load a broker.
//
// ClosedLoop keeps a bounded number of publications in flight: it sends when the readers have read,
// so it finds the highest rate, and its latencies are those of a full pipe. OpenLoop sends by the
// clock alone: message i of publisher p is due at start + (i * publishers + p) / rate, whatever
// became of those before it, and carries that intended time. One thread.
#pragma once

#include <cstdint>
#include <vector>

#include "loadtest/client.hpp"
#include "loadtest/clock.hpp"

namespace millrace::loadtest {

class ClosedLoop {
 public:
  // in_flight_max 0: only the publishers' own bounds (QoS > 0) count.
  ClosedLoop(std::vector<Client*> publishers, std::uint64_t in_flight_max, Nanos stall_ns)
      : publishers_(std::move(publishers)), in_flight_max_(in_flight_max), stall_ns_(stall_ns) {}

  // `received`: publications that every reader has; `published_max`: stop there. Sends a
  // bounded burst per publisher; returns how long nothing more can be
  // sent unless something arrives.
  Nanos step(Nanos now, std::uint64_t received, std::uint64_t published_max);

  std::uint64_t published() const { return published_; }
  std::uint64_t stalls() const { return stalls_; }

 private:
  std::uint64_t credit(Nanos now, std::uint64_t received);

  const std::vector<Client*> publishers_;
  const std::uint64_t in_flight_max_;
  const Nanos stall_ns_;
  std::uint64_t published_ = 0;
  std::uint64_t given_up_ = 0;  // in flight for so long that they are not waited for
  std::uint64_t received_before_ = 0;
  Nanos last_progress_ns_ = 0;
  std::uint64_t stalls_ = 0;
  std::size_t first_ = 0;  // who is served first changes from step to step
};

class OpenLoop {
 public:
  OpenLoop(std::vector<Client*> publishers, double rate_per_s, Nanos start_ns)
      : publishers_(std::move(publishers)),
        next_(publishers_.size()),
        interval_ns_(1e9 / rate_per_s),
        start_ns_(start_ns) {}

  // Sends what is due; returns how long nothing more is.
  Nanos step(Nanos now, std::uint64_t published_max);

  std::uint64_t published() const { return published_; }
  // Messages that were due before `until` and could not be sent. Each has waited until now at
  // least, and is recorded so, once per reader, if the measurement covers it: to leave it out would
  // hide the worst of the latency.
  std::uint64_t record_unsent(Nanos until, Measurement& measurement, std::uint32_t readers) const;

 private:
  Nanos due_at(std::size_t publisher, std::uint64_t i) const {
    const double turn = static_cast<double>(i * publishers_.size() + publisher);
    return start_ns_ + static_cast<Nanos>(turn * interval_ns_);
  }

  const std::vector<Client*> publishers_;
  std::vector<std::uint64_t> next_;  // by publisher
  const double interval_ns_;
  const Nanos start_ns_;
  std::uint64_t published_ = 0;
};

}  // namespace millrace::loadtest
