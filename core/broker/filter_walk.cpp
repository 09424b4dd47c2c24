#include "core/broker/filter_walk.hpp"

#include <algorithm>
#include <utility>

namespace millrace::broker {

namespace {

std::vector<std::string> levels_of(std::string_view topic) {
  std::vector<std::string> levels;
  for (;;) {
    const std::size_t slash = topic.find('/');
    levels.emplace_back(topic.substr(0, slash));
    if (slash == std::string_view::npos) return levels;
    topic.remove_prefix(slash + 1);
  }
}

}  // namespace

FilterWalk::FilterWalk(std::string_view topic) : levels_(levels_of(topic)) {}

// At each node first the filter that goes on with `#`, then the topic's own level, then `+`.
FilterWalk::Place FilterWalk::next(const SubscriptionIndex& index, std::uint32_t& budget) {
  for (; !done_ && budget > 0; --budget) {
    const Place node = stand(index);
    Place found = SubscriptionIndex::none;
    if (node == SubscriptionIndex::none) {
      turn();
    } else if (!std::exchange(seen_pound_, true)) {
      found = index.nodes_[node].pound;
      // A filter that starts with a wildcard matches no topic that starts with '$' [MQTT-4.7.2-1].
      if (path_.empty() && levels_[0].starts_with('$')) found = SubscriptionIndex::none;
    } else if (path_.size() < levels_.size()) {
      descend();
    } else {
      found = node;
      turn();
    }
    if (found == SubscriptionIndex::none || index.all_at(found).empty()) continue;
    --budget;
    return found;
  }
  return SubscriptionIndex::no_place;
}

// None: there is no such node, or no longer.
FilterWalk::Place FilterWalk::stand(const SubscriptionIndex& index) {
  if (nodes_.empty() || version_ != index.version()) nodes_.assign(1, SubscriptionIndex::root);
  version_ = index.version();
  while (nodes_.size() <= path_.size() && nodes_.back() != SubscriptionIndex::none) {
    const std::size_t depth = nodes_.size() - 1;
    const bool is_plus = path_[depth] == Level::plus;
    nodes_.push_back(is_plus ? index.nodes_[nodes_.back()].plus
                             : index.find_child(nodes_.back(), levels_[depth]));
  }
  return nodes_.back();
}

void FilterWalk::descend() {
  path_.push_back(Level::exact);
  seen_pound_ = false;
}

void FilterWalk::turn() {
  while (!path_.empty() && path_.back() == Level::plus) path_.pop_back();
  const bool has_no_plus = path_.size() == 1 && levels_[0].starts_with('$');  // likewise
  done_ = path_.empty() || has_no_plus;
  if (done_) return;
  path_.back() = Level::plus;
  seen_pound_ = false;
  nodes_.resize(std::min(nodes_.size(), path_.size()));
}

}  // namespace millrace::broker
