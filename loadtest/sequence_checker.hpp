// Says of each message of one stream (one publisher and one topic, as one reader sees it) whether
// it came in its turn, came late, came twice or left a gap. Streams are numbered from 0 without
// holes.
//
// One thread. Always holds: a message is counted as received once, however often it arrives; the
// number of missing messages below next() is next() - received(). A gap's members may still arrive:
// they are then counted as reordered, not as lost. At most kGapsMax gaps are remembered; the oldest
// is forgotten first, and a message out of a forgotten gap counts as a duplicate.
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

  // One past the highest sequence seen: what a reader in its turn expects.
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
