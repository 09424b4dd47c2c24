// FilterWalk: the filters that match a topic, a few at a time. It knows where it stands by the
// levels of a filter, so filters may come and go between two steps: one that is there throughout is
// met once.
//
// Threads: the processor's holder alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/broker/subscription_index.hpp"

namespace millrace::broker {

class FilterWalk {
 public:
  using Place = SubscriptionIndex::Place;

  explicit FilterWalk(std::string_view topic);

  // Where the subscriptions to the next filter stand, until the index changes. What it costs is
  // taken off `budget`, about one for each node that is looked at. no_place: done(), or the budget
  // is used up.
  Place next(const SubscriptionIndex& index, std::uint32_t& budget);
  bool done() const { return done_; }

 private:
  enum class Level : std::uint8_t { exact, plus };

  Place stand(const SubscriptionIndex& index);
  // To the filters that go on from here, to begin with those that have the topic's own level.
  void descend();
  // To the filters beside those that begin like this one.
  void turn();

  const std::vector<std::string> levels_;  // of the topic
  std::vector<Level> path_;                // where the walk stands: what the levels up to here are
  bool seen_pound_ = false;                // the `#` below it was looked at
  bool done_ = false;

  // The nodes on that path from the root on, as far as they are known and there; of this version.
  std::vector<Place> nodes_;
  std::uint64_t version_ = 0;
};

}  // namespace millrace::broker
