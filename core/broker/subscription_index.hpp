// SubscriptionIndex: which subscriptions match a topic, and what changed since a match was cached.
//
// Filters form a tree, one node a level; the edges of all nodes are one hash table, keyed by
// (parent, level), so that a node with a million children costs no more than a million nodes with
// one. `+` and `#` are ordinary children whose numbers the node also keeps. Most nodes stand for one
// filter of one client: such a node is 56 bytes, with a level of up to 23.
//
// A cached route remembers version(). When the index has changed since, changed_since() says
// whether any of those changes touches the topic; most do not, and then the route stays. The log of
// changes is short: a route that is older than the log is computed anew.
//
// Threads: the processor's holder alone. Subscriptions are the caller's; the index only keeps its
// own place in them (index_position).
#pragma once

#include <boost/container/string.hpp>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/broker/one_or_many.hpp"
#include "core/broker/probe_table.hpp"

namespace millrace::broker {

struct Subscription;

class SubscriptionIndex {
 public:
  SubscriptionIndex();

  // Where subscriptions to one filter stand. A place that has none any more is given to another one.
  using Place = std::uint32_t;
  static constexpr Place no_place = 0xFFFFFFFF;  // beyond all that are given out
  // Hears of each subscription: after it was added, and before it is removed.
  class Observer {
   public:
    virtual void added(Place place, const Subscription& subscription) = 0;
    virtual void removed(Place place, const Subscription& subscription) = 0;

   protected:
    ~Observer() = default;
  };
  // Null: nobody.
  void observe(Observer* observer) { observer_ = observer; }
  // For a walk over all of them, from 0 on.
  Place place_count() const { return static_cast<Place>(nodes_.size()); }
  // Those which stand there, each at its index_position. A new one comes last; the last one takes the
  // place of one that is removed.
  std::span<Subscription* const> all_at(Place place) const {
    return nodes_[place].subscriptions.all();
  }

  // The filter must be valid, without prefixes. A subscription is added once.
  void add(std::string_view filter, Subscription* subscription);
  void remove(std::string_view filter, Subscription* subscription);
  // The subscription changed in place (QoS, mode): cached routes must be computed anew.
  void touch(std::string_view filter);

  // Calls visit(Subscription*) for each subscription whose filter matches, in a fixed order.
  // Returns how many nodes were looked at. In steps: FilterWalk. [MQTT-4.7.1], [MQTT-4.7.2-1]
  template <class Visit>
  std::size_t match(std::string_view topic, Visit&& visit) const {
    std::size_t nodes = 0;
    match_level(root, topic, nodes, visit);
    return nodes;
  }

  std::uint64_t version() const { return version_; }
  bool changed_since(std::uint64_t version, std::string_view topic) const;

  std::size_t size() const { return size_; }
  std::size_t node_count() const { return nodes_.size() - free_nodes_.size(); }
  std::uint64_t memory_bytes() const {
    return nodes_.size() * (sizeof(Node) + sizeof(NodeId)) + edges_.slot_count() * sizeof(NodeId) +
           level_bytes_;
  }

 private:
  friend class FilterWalk;
  using NodeId = std::uint32_t;
  static constexpr NodeId none = 0;
  static constexpr NodeId root = 1;
  static constexpr std::size_t log_size = 256;

  struct Node {
    NodeId parent = none;
    std::uint32_t level_hash = 0;
    NodeId plus = none;   // child "+"
    NodeId pound = none;  // child "#"
    std::uint32_t child_count = 0;
    boost::container::string level;         // 24 bytes, where std::string is 32
    OneOrMany<Subscription> subscriptions;  // whose filter ends here
  };

  // What the text of a level takes besides its node.
  static std::uint64_t level_memory_bytes(std::string_view level);
  static std::uint32_t edge_hash(NodeId parent, std::string_view level);
  NodeId find_child(NodeId parent, std::string_view level) const;
  NodeId make_child(NodeId parent, std::string_view level);
  void remove_if_bare(NodeId id);
  NodeId find(std::string_view filter) const;
  auto hash_of_edge() const {
    return [this](NodeId id) { return nodes_[id].level_hash; };
  }
  void log_change(std::string_view filter);

  template <class Visit>
  void visit_node(NodeId id, Visit& visit) const {
    for (Subscription* subscription : nodes_[id].subscriptions.all()) visit(subscription);
  }

  template <class Visit>
  void match_level(NodeId id, std::string_view rest, std::size_t& nodes, Visit& visit) const {
    const Node& node = nodes_[id];
    ++nodes;
    // A filter that starts with a wildcard does not match a topic that starts with '$'.
    const bool wildcards = id != root || rest.empty() || rest.front() != '$';
    // "a/#" also matches "a": see the end of the topic below.
    if (wildcards && node.pound != none) visit_node(node.pound, visit);
    const std::size_t slash = rest.find('/');
    const std::string_view level = rest.substr(0, slash);
    const auto descend = [&](NodeId child) {
      if (slash != std::string_view::npos) {
        match_level(child, rest.substr(slash + 1), nodes, visit);
        return;
      }
      ++nodes;
      visit_node(child, visit);
      if (nodes_[child].pound != none) visit_node(nodes_[child].pound, visit);
    };
    if (const NodeId exact = find_child(id, level); exact != none) descend(exact);
    if (wildcards && node.plus != none) descend(node.plus);
  }

  std::deque<Node> nodes_;  // grows without moving: a million nodes would hold the processor up
  std::vector<NodeId> free_nodes_;
  ProbeTable<NodeId> edges_;  // by parent and level; each node is the end of its edge
  std::size_t size_ = 0;
  std::uint64_t level_bytes_ = 0;
  std::uint64_t version_ = 0;
  Observer* observer_ = nullptr;
  std::vector<std::string> log_;  // filter of change v stands at v % log_size
};

}  // namespace millrace::broker
