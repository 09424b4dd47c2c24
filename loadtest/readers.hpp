// All receivers of a run: sums of what arrived and what is missing. One thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "loadtest/fleet.hpp"
#include "loadtest/receiver.hpp"
#include "loadtest/result.hpp"

namespace millrace::loadtest {

class Readers {
 public:
  Receiver* add(const Fleet& fleet, Measurement* measurement, MessageObserver* observer = nullptr) {
    readers_.push_back(std::make_unique<Receiver>(fleet.topics(), fleet.run(), fleet.streams(),
                                                  measurement, observer));
    return readers_.back().get();
  }

  // Publications that every reader has received: the smallest count of any reader.
  std::uint64_t received_by_all() const {
    std::uint64_t least = std::numeric_limits<std::uint64_t>::max();
    for (const auto& r : readers_) least = std::min(least, r->tally().received);
    return least;
  }

  std::uint64_t arrivals() const {
    std::uint64_t sum = 0;
    for (const auto& r : readers_) sum += r->arrivals();
    return sum;
  }

  SequenceTally tally() const {
    SequenceTally sum;
    for (const auto& r : readers_) sum.add(r->tally());
    return sum;
  }

  Nanos last_arrival_ns() const {
    Nanos last = 0;
    for (const auto& r : readers_) last = std::max(last, r->last_arrival_ns());
    return last;
  }

  // Adds loss and disorder over the whole run, warm-up and drain included.
  void report(Result& result, std::uint64_t wanted) const;

 private:
  std::vector<std::unique_ptr<Receiver>> readers_;
};

// Reports messages that were due in an open loop and not sent by the end.
void note_never_sent(Result& result, std::uint64_t count);

// Reports connections that ended early and packets that could not be parsed.
void note_connection_faults(Result& result, const Fleet& fleet);

}  // namespace millrace::loadtest
