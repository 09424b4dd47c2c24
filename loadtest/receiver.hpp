// Checks the messages that one subscriber receives: whether each is of this run, on the right topic
// and in sequence, and how old it is. The Measurement, which collects the times, is shared by all
// readers of a run.
//
// One thread. Invariants: arrivals = tally.received + tally.duplicates + foreign.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "loadtest/histogram.hpp"
#include "loadtest/sequence_checker.hpp"
#include "loadtest/stamp.hpp"

namespace millrace::loadtest {

struct Measurement {
  // Only messages with an intended send time from here on are timed: the warm-up is not.
  Nanos window_begin_ns = std::numeric_limits<Nanos>::max();
  Histogram latency;  // arrival - intended send time: includes the sender's delay
  Histogram service;  // arrival - actual send time: without the sender's delay
};

// For scenarios that observe single messages.
class MessageObserver {
 public:
  virtual ~MessageObserver() = default;
  virtual void on_message(const Stamp& stamp, Nanos now) = 0;
};

class Receiver {
 public:
  Receiver(const TopicNames& topics, std::uint32_t run, std::uint32_t streams,
           Measurement* measurement, MessageObserver* observer = nullptr)
      : topics_(topics),
        run_(run),
        wire_run_(static_cast<std::uint32_t>(spread(run))),
        streams_(streams),
        measurement_(measurement),
        observer_(observer) {}

  void on_publish(const char* topic, std::size_t topic_bytes, const char* payload,
                  std::size_t payload_bytes, Nanos now) {
    ++arrivals_;
    WireStamp wire;
    if (payload_bytes < kStampBytes) {
      ++foreign_;
      return;
    }
    std::memcpy(&wire, payload, kStampBytes);
    const auto stream = static_cast<std::uint32_t>(gather(wire.stream));
    if (wire.run != wire_run_ || stream >= streams_.size()) {
      ++foreign_;
      return;
    }
    const std::uint32_t topic_index = topics_.count() == 1 ? 0 : stream % topics_.count();
    if (!topics_.is(topic_index, topic, topic_bytes)) ++wrong_topic_;
    const std::uint64_t sequence = gather(wire.sequence);
    streams_[stream].see(sequence, tally_);
    if (wire.intended != timed_.intended || wire.sent != timed_.sent) {
      record_timed(now);
      timed_ = {wire.intended, wire.sent, 0};
    }
    ++timed_.messages;
    if (observer_ != nullptr) {
      observer_->on_message({run_, stream, sequence, static_cast<Nanos>(gather(wire.intended)),
                             static_cast<Nanos>(gather(wire.sent))},
                            now);
    }
  }

  // To be called after the messages of one read(), which all arrived at `now`.
  void end_of_read(Nanos now) {
    record_timed(now);
    last_arrival_ns_ = now;
  }

  std::uint64_t arrivals() const { return arrivals_; }
  std::uint64_t foreign() const { return foreign_; }
  std::uint64_t wrong_topic() const { return wrong_topic_; }
  const SequenceTally& tally() const { return tally_; }
  Nanos last_arrival_ns() const { return last_arrival_ns_; }
  std::uint64_t next_of(std::uint32_t stream) const { return streams_[stream].next(); }

 private:
  // Consecutive messages with the same times are recorded together.
  struct Timed {
    std::uint64_t intended = 0;  // as on the wire
    std::uint64_t sent = 0;
    std::uint64_t messages = 0;
  };

  void record_timed(Nanos now) {
    if (timed_.messages == 0) return;
    const auto intended_ns = static_cast<Nanos>(gather(timed_.intended));
    if (measurement_ != nullptr && intended_ns >= measurement_->window_begin_ns) {
      measurement_->latency.record(now - intended_ns, timed_.messages);
      measurement_->service.record(now - static_cast<Nanos>(gather(timed_.sent)), timed_.messages);
    }
    timed_.messages = 0;
  }

  const TopicNames& topics_;
  const std::uint32_t run_;
  const std::uint32_t wire_run_;
  std::vector<SequenceChecker> streams_;
  Measurement* const measurement_;
  MessageObserver* const observer_;
  Timed timed_;
  SequenceTally tally_;
  std::uint64_t arrivals_ = 0;
  std::uint64_t foreign_ = 0;
  std::uint64_t wrong_topic_ = 0;
  Nanos last_arrival_ns_ = 0;
};

}  // namespace millrace::loadtest
