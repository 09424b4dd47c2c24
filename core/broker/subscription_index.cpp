#include "core/broker/subscription_index.hpp"

#include <cassert>

#include "core/base/malloc_bytes.hpp"
#include "core/broker/session.hpp"
#include "core/broker/topic_hash.hpp"
#include "protocol/topic.hpp"

namespace millrace::broker {

namespace {

// Behind by more changes than this, matching anew is cheaper than asking each change.
constexpr std::uint64_t changes_worth_asking = 32;

template <class F>
void for_each_level(std::string_view filter, F&& f) {
  for (;;) {
    const std::size_t slash = filter.find('/');
    f(filter.substr(0, slash));
    if (slash == std::string_view::npos) return;
    filter.remove_prefix(slash + 1);
  }
}

}  // namespace

SubscriptionIndex::SubscriptionIndex() : nodes_(2), log_(log_size) {
  static_assert(sizeof(Node) == 56, "there are as many as subscriptions");
}

std::uint64_t SubscriptionIndex::level_memory_bytes(std::string_view level) {
  return level.size() <= 23 ? 0 : base::malloc_bytes(level.size() + 1);
}

std::uint32_t SubscriptionIndex::edge_hash(NodeId parent, std::string_view level) {
  const std::uint64_t hash = topic_hash(level) ^ (parent * 0x9E3779B97F4A7C15ull);
  return static_cast<std::uint32_t>((hash * 0xD6E8FEB86659FD93ull) >> 32);
}

SubscriptionIndex::NodeId SubscriptionIndex::find_child(NodeId parent,
                                                        std::string_view level) const {
  const std::uint32_t hash = edge_hash(parent, level);
  return edges_.find(hash, [&](NodeId id) {
    const Node& node = nodes_[id];
    return node.level_hash == hash && node.parent == parent && level == node.level;
  });
}

SubscriptionIndex::NodeId SubscriptionIndex::make_child(NodeId parent, std::string_view level) {
  if (const NodeId found = find_child(parent, level); found != none) return found;
  NodeId id;
  if (!free_nodes_.empty()) {
    id = free_nodes_.back();
    free_nodes_.pop_back();
  } else {
    id = static_cast<NodeId>(nodes_.size());
    nodes_.emplace_back();
  }
  Node& node = nodes_[id];
  assert(node.parent == none && node.child_count == 0 && node.subscriptions.empty());
  node.parent = parent;
  node.level = level;
  level_bytes_ += level_memory_bytes(level);
  node.level_hash = edge_hash(parent, level);
  edges_.insert(id, hash_of_edge());
  Node& above = nodes_[parent];
  ++above.child_count;
  if (level == "+") above.plus = id;
  if (level == "#") above.pound = id;
  return id;
}

void SubscriptionIndex::remove_if_bare(NodeId id) {
  while (id != root && nodes_[id].child_count == 0 && nodes_[id].subscriptions.empty()) {
    assert(nodes_[id].plus == none && nodes_[id].pound == none);
    edges_.erase(id, hash_of_edge());
    const NodeId parent = nodes_[id].parent;
    Node& above = nodes_[parent];
    assert(above.child_count > 0);
    --above.child_count;
    if (above.plus == id) above.plus = none;
    if (above.pound == id) above.pound = none;
    assert(level_bytes_ >= level_memory_bytes(nodes_[id].level));
    level_bytes_ -= level_memory_bytes(nodes_[id].level);
    nodes_[id] = Node{};
    free_nodes_.push_back(id);
    id = parent;
  }
}

SubscriptionIndex::NodeId SubscriptionIndex::find(std::string_view filter) const {
  NodeId id = root;
  for_each_level(filter, [&](std::string_view level) {
    if (id != none) id = find_child(id, level);
  });
  return id;
}

void SubscriptionIndex::add(std::string_view filter, Subscription* subscription) {
  assert(subscription != nullptr);
  NodeId id = root;
  for_each_level(filter, [&](std::string_view level) { id = make_child(id, level); });
  auto& subscriptions = nodes_[id].subscriptions;
  subscription->index_position = static_cast<std::uint32_t>(subscriptions.all().size());
  subscriptions.push_back(subscription);
  ++size_;
  assert(edges_.size() + 2 == node_count());  // no edge ends at `none` or at the root
  log_change(filter);
  if (observer_ != nullptr) [[unlikely]]
    observer_->added(id, *subscription);
}

void SubscriptionIndex::remove(std::string_view filter, Subscription* subscription) {
  const NodeId id = find(filter);
  assert(id != none);
  auto& subscriptions = nodes_[id].subscriptions;
  const std::uint32_t at = subscription->index_position;
  assert(at < subscriptions.all().size() && subscriptions.all()[at] == subscription);
  if (observer_ != nullptr) [[unlikely]]
    observer_->removed(id, *subscription);
  assert(size_ > 0);
  subscriptions.all().back()->index_position = at;
  subscriptions.erase(at);
  --size_;
  remove_if_bare(id);
  assert(edges_.size() + 2 == node_count());
  log_change(filter);
}

void SubscriptionIndex::touch(std::string_view filter) {
  log_change(filter);
}

void SubscriptionIndex::log_change(std::string_view filter) {
  log_[version_ % log_size] = filter;
  ++version_;
}

bool SubscriptionIndex::changed_since(std::uint64_t version, std::string_view topic) const {
  assert(version <= version_);
  if (version_ - version > changes_worth_asking) return true;
  for (std::uint64_t v = version; v != version_; ++v) {
    if (protocol::matches(log_[v % log_size], topic)) return true;
  }
  return false;
}

}  // namespace millrace::broker
