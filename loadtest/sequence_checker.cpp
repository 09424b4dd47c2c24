#include "loadtest/sequence_checker.hpp"

#include <algorithm>

namespace millrace::loadtest {

void SequenceChecker::see_out_of_turn(std::uint64_t sequence, SequenceTally& tally) {
  if (sequence > next_) {
    if (!gaps_) gaps_ = std::make_unique<std::vector<Gap>>();
    if (gaps_->size() >= kGapsMax) gaps_->erase(gaps_->begin());
    gaps_->push_back({next_, sequence - 1});
    next_ = sequence + 1;
    ++tally.gaps;
    ++tally.received;
  } else if (fill(sequence)) {
    ++tally.reordered;
    ++tally.received;
  } else {
    ++tally.duplicates;
  }
}

// Removes `sequence` from its gap; false if it was not missing.
bool SequenceChecker::fill(std::uint64_t sequence) {
  if (!gaps_) return false;
  const auto gap = std::lower_bound(gaps_->begin(), gaps_->end(), sequence,
                                    [](const Gap& g, std::uint64_t s) { return g.last < s; });
  if (gap == gaps_->end() || gap->first > sequence) return false;
  if (gap->first == gap->last) {
    gaps_->erase(gap);
  } else if (gap->first == sequence) {
    ++gap->first;
  } else if (gap->last == sequence) {
    --gap->last;
  } else {
    const Gap upper{sequence + 1, gap->last};
    gap->last = sequence - 1;
    gaps_->insert(gap + 1, upper);
  }
  return true;
}

}  // namespace millrace::loadtest
