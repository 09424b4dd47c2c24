// RouteBuilder: a topic's Route, from the subscriptions that match the topic. Subscriptions of one
// session are merged into one target (one copy of each message), unless something tells them apart.
//
// What always holds: the time is proportional to the index nodes and subscriptions that match,
// however many of them are one session's. ProcessorStats::work_units counts those, and the targets
// that were looked at to merge.
//
// Threads: the processor's holder alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/broker/batch.hpp"
#include "core/broker/route.hpp"
#include "core/broker/session.hpp"
#include "core/broker/subscription_index.hpp"

namespace millrace::broker {

class RouteBuilder {
 public:
  explicit RouteBuilder(Batch& batch) : batch_(batch) {}

  Route build(const SubscriptionIndex& index, std::string_view topic);
  // Of subscriptions of one session that match a topic, those with the same key share a copy. Nothing:
  // it shares none.
  std::optional<std::uint64_t> copy_key(const Subscription& subscription) const;

 private:
  using Place = std::uint32_t;  // of a target, in Route::targets
  static constexpr Place nowhere = UINT32_MAX;

  // What tells two targets of a session apart. The identifier is 0 where it does not.
  struct Key {
    const Session* session = nullptr;
    std::uint32_t identifier = 0;
    bool no_local = false;
    bool retain_as_published = false;
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct KeyHash {
    std::size_t operator()(const Key& key) const;
  };

  void add_match(Subscription* subscription, std::string_view topic);
  void add_target(Subscription& subscription);
  void merge(Place place, const Subscription& subscription, const Shape* shape);
  Key key_of(const Subscription& subscription) const;
  Key key_of(Place place) const;
  Place find_target(const SubscriptionSet& set, const Key& key);
  void add_to_lists(SubscriptionSet& set, const Key& key);

  Batch& batch_;
  std::uint64_t stamp_ = 0;  // of the route that is built now

  // Scratch, empty between two builds.
  Route route_;
  std::vector<Subscription*> matches_;
  std::vector<Place> previous_;  // of the same session; one for each target
  // Subscription Identifier of each target, one of them; 0: none.
  std::vector<std::uint32_t> identifiers_;
  // The targets of those sessions that have too many to look through.
  std::unordered_map<Key, Place, KeyHash> places_;
  std::vector<Place> merged_;  // targets with a list of identifiers of their own
};

}  // namespace millrace::broker
