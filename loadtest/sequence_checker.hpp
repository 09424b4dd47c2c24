// Checks the messages of one stream (one publisher and one topic, as received by one reader): in
// sequence, late, duplicate, or after a gap. A stream's messages are numbered from 0 without gaps.
//
// One thread. Invariants: a message is counted as received once, however often it arrives; the
// number of missing messages of a stream is next() less those received. A message of a gap may
// still arrive: then it is counted as reordered, not as lost. At most kGapsMax gaps are remembered;
// the oldest is forgotten first, and a message of a forgotten gap counts as a duplicate.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace millrace::loadtest {

struct SequenceTally {
  std::uint64_t received = 0;    // each message once
  std::uint64_t duplicates = 0;  // arrivals of a message that had arrived before
  std::uint64_t reordered = 0;   // arrivals after a later message of the same stream
  std::uint64_t gaps = 0;        // times the sequence jumped forward

  void add(const SequenceTally& other) {
    received += other.received;
    duplicates += other.duplicates;
    reordered += other.reordered;
    gaps += other.gaps;
  }
};

class SequenceChecker {
 public:
  static constexpr std::size_t kGapsMax = 1024;

  void see(std::uint64_t sequence, SequenceTally& tally) {
    if (sequence == next_) [[likely]] {
      ++next_;
      ++tally.received;
    } else {
      see_out_of_turn(sequence, tally);
    }
  }

  // One past the highest sequence seen: the next expected one.
  std::uint64_t next() const { return next_; }

 private:
  struct Gap {
    std::uint64_t first;
    std::uint64_t last;
  };

  void see_out_of_turn(std::uint64_t sequence, SequenceTally& tally);
  bool fill(std::uint64_t sequence);

  std::uint64_t next_ = 0;
  std::unique_ptr<std::vector<Gap>> gaps_;  // ascending; only once something was missing
};

}  // namespace millrace::loadtest
