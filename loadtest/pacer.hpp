// The two ways to load a broker: which publisher sends the next message, and when.
//
// ClosedLoop keeps a bounded number of publications in flight: it sends when the readers have read,
// so it finds the highest rate, and its latencies are those of full queues. OpenLoop sends by the
// clock only: message i of publisher p is due at start + (i * publishers + p) / rate, even if
// earlier messages are late, and its stamp holds that intended time. One thread.
#pragma once

#include <cstdint>
#include <vector>

#include "loadtest/client.hpp"
#include "loadtest/clock.hpp"

namespace millrace::loadtest {

class ClosedLoop {
 public:
  // in_flight_max 0: only the publishers' own limits (QoS > 0) apply.
  ClosedLoop(std::vector<Client*> publishers, std::uint64_t in_flight_max, Nanos stall_ns)
      : publishers_(std::move(publishers)), in_flight_max_(in_flight_max), stall_ns_(stall_ns) {}

  // Sends a bounded burst per publisher, up to `published_max` messages in all. `received`:
  // publications that every reader has received. Returns for how long nothing more can be sent
  // unless something arrives.
  Nanos step(Nanos now, std::uint64_t received, std::uint64_t published_max);

  std::uint64_t published() const { return published_; }
  std::uint64_t stalls() const { return stalls_; }

 private:
  std::uint64_t credit(Nanos now, std::uint64_t received);

  const std::vector<Client*> publishers_;
  const std::uint64_t in_flight_max_;
  const Nanos stall_ns_;
  std::uint64_t published_ = 0;
  std::uint64_t given_up_ = 0;  // in flight for longer than stall_ns_: no longer waited for
  std::uint64_t received_before_ = 0;
  Nanos last_progress_ns_ = 0;
  std::uint64_t stalls_ = 0;
  std::size_t first_ = 0;  // the publisher that is served first; changes with each step
};

class OpenLoop {
 public:
  OpenLoop(std::vector<Client*> publishers, double rate_per_s, Nanos start_ns)
      : publishers_(std::move(publishers)),
        next_(publishers_.size()),
        interval_ns_(1e9 / rate_per_s),
        start_ns_(start_ns) {}

  // Sends what is due; returns the time until the next message is due.
  Nanos step(Nanos now, std::uint64_t published_max);

  std::uint64_t published() const { return published_; }
  // Counts the messages that were due before `until` and could not be sent. If the measurement
  // covers a message, its waiting time so far is recorded once per reader: without it the highest
  // latencies would be missing.
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
