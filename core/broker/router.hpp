// [6] route: from a topic to who gets its messages: sessions, shared groups, local rings and tables.
//
// The router owns the subscription index, the shared groups, and the cached route of each topic
// (which stands in the topic: Topic::cached_route). It decides who gets a message; it sends
// nothing. Processor asks it for each message, and FanOut [7] for the member of a group.
//
// What always holds: each subscription of a session is in the index exactly once, or in a group that
// is; a group has at least one member. A subscription or group that ended is freed at the end of
// that batch (forget_ended), as a caller may still hold a route that names it; route_of() returns no
// such route any more.
//
// Threads: the processor's holder alone.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/broker/batch.hpp"
#include "core/broker/command.hpp"
#include "core/broker/route.hpp"
#include "core/broker/route_builder.hpp"
#include "core/broker/session.hpp"
#include "core/broker/shared_group.hpp"
#include "core/broker/subscription_index.hpp"
#include "core/broker/topic_hash.hpp"
#include "core/broker/topic_table.hpp"

namespace millrace::broker {

class Router {
 public:
  // `routes`: those that are cached in the topics.
  Router(Batch& batch, RouteCache& routes)
      : batch_(batch), routes_(routes), route_builder_(batch) {}

  // Valid until a subscription changes.
  const Route& route_of(Topic& topic) {
    CachedRoute& cached = topic.cached_route;
    if (cached.version() != index_.version()) [[unlikely]]
      bring_up_to_date(topic);
    MILLRACE_CHECK(cached.version() == index_.version());
    return cached.route();
  }

  // The member whose turn it is to get the message; null: no member can take it. Moves the turn on.
  Subscription* take_turn(const RouteGroup& route, const Message& message) {
    return route.group->take_turn(route, message, batch_.stats().work_units);
  }
  // A group by its key, as long as there is one; null: there is none.
  static std::string key_of(const SharedGroup& group);
  SharedGroup* find_group(const std::string& key) const;
  // The session has got a connection, or lost it.
  void update_groups(Session& session);

  // See RouteBuilder.
  std::optional<std::uint64_t> copy_key(const Subscription& subscription) const {
    return route_builder_.copy_key(subscription);
  }

  struct Subscribed {
    Subscription* subscription = nullptr;  // null: there are too many, or memory is scarce
    bool is_new = false;                   // else it was there and has new options
  };
  Subscribed subscribe(Session& session, const SubscriptionRequest& wanted,
                       std::uint32_t identifier);
  // At the start: one of that number. False: the client has too many.
  bool restore(Session& session, const SubscriptionRequest& wanted, std::uint32_t identifier,
               std::uint32_t number);
  // That number is not given to another one: messages of a subscription that ended still wait.
  void skip_number(std::uint32_t number) {
    subscription_number_ = std::max(subscription_number_, number);
  }
  // Null: there is none of that name. What is returned lives until the end of the batch.
  const Subscription* unsubscribe(Session& session, std::string_view name);
  // The subscription stays, and reads what `rules` permit of it from now on.
  // `qos_max`: the highest that it is granted from now on.
  void set_rules(Subscription& subscription, std::shared_ptr<const TopicRules> rules,
                 std::uint8_t qos_max);
  // What an ended session subscribed to, of which no new route names anything: as much as stands in
  // `count` slots of its table from `from` on. Returns where to go on. The session still owns them.
  std::uint32_t remove_some(Session& session, std::uint32_t from, std::uint32_t count);
  // Takes the session's subscriptions out of their shared groups.
  void leave_groups(Session& session);

  // At the end of the batch.
  void forget_ended();

  // What a client is charged for a subscription: it, its levels in the index, which it may share
  // with others, and a snapshot that waits.
  static std::uint64_t memory_bytes(std::string_view name);
  // What it takes out of the index.
  static std::uint64_t memory_bytes(const Subscription& subscription);
  // What those of all clients take, in the index and out of it.
  std::uint64_t memory_bytes() const { return subscription_bytes_ + index_.memory_bytes(); }

  // For LocalSide, whose rings and tables are subscriptions without a session.
  SubscriptionIndex& index() { return index_; }
  const SubscriptionIndex& index() const { return index_; }
  std::size_t group_count() const { return groups_.size(); }
  // Those of sessions and of local readers. (The index has a group once.)
  std::size_t subscription_count() const {
    MILLRACE_CHECK(index_.size() >= groups_.size() && members_ >= groups_.size());
    return index_.size() - groups_.size() + members_;
  }

 private:
  void bring_up_to_date(Topic& topic);
  bool has_room(Session& session, std::string_view name);
  void uncharge(Subscription& subscription);
  void add_to_index(Subscription& subscription);
  void remove_from_index(Subscription& subscription);
  void add_to_group(Subscription& subscription, const std::string& group_name);
  void leave_group(Subscription& subscription);
  void remove(Subscription& subscription);
  void add_to_pace(const Subscription& subscription);
  void remove_from_pace(const Subscription& subscription);

  Batch& batch_;
  RouteCache& routes_;
  SubscriptionIndex index_;
  RouteBuilder route_builder_;
  // By "name/filter".
  std::unordered_map<std::string, std::unique_ptr<SharedGroup>, TopicHash> groups_;
  std::size_t members_ = 0;  // of all groups
  std::uint64_t subscription_bytes_ = 0;
  std::uint32_t subscription_number_ = 0;
  bool restores_ = false;
  std::vector<std::unique_ptr<Subscription>> ended_subscriptions_;
  std::vector<std::unique_ptr<SharedGroup>> ended_groups_;
};

}  // namespace millrace::broker
