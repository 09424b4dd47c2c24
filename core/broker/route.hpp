// Route: who gets the messages of a topic. CachedRoute: a topic's route as it was when it was
// computed last, in the space of one pointer. RouteCache: all of those, and the memory they take.
//
// Threads: the processor's holder alone.
#pragma once

#include <boost/intrusive/list.hpp>
#include <boost/intrusive_ptr.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "core/broker/check.hpp"
#include "core/broker/session.hpp"
#include "core/broker/shape.hpp"
#include "core/broker/topic_rules.hpp"

namespace millrace::shm {
struct Feed;
}

namespace millrace::broker {

// One subscriber of a topic, resolved: overlapping subscriptions of a 3.1.1 client are merged, and
// a session's strongest mode counts for all of its subscriptions to the topic.
struct RouteTarget {
  Session* session = nullptr;
  const Shape* shape = nullptr;  // a subscription's, which says something of each topic; null: none
  boost::intrusive_ptr<SubscriptionIdentifiers> identifiers;  // all of them; null: none
  std::uint32_t subscription = 0;  // Subscription::number; the lowest of those that are merged
  std::uint8_t qos = 0;
  Mode mode = Mode::adaptive;
  bool retain_as_published : 1 = false;
  bool no_local : 1 = false;
  bool confirms : 1 = false;  // one of the subscriptions: see SubscriptionRequest

  std::uint32_t interval_ms() const { return shape != nullptr ? shape->interval_ms : 0; }
};

static_assert(sizeof(RouteTarget) == 32, "all of a topic's are gone through for each message");

// A group of shared subscriptions, of which perhaps not every member may read the topic.
struct RouteGroup {
  explicit RouteGroup(SharedGroup& of) : group(&of) {}

  SharedGroup* group;

  // Members have few sets of rules between them, and each is asked once.
  bool may_read(const Subscription& member, std::string_view topic) const {
    const auto& rules = member.extras.read().rules;
    if (!rules) return true;
    for (const Verdict& known : verdicts_) {
      if (known.rules == rules) return known.permit;
    }
    const bool permit = rules->permit(topic);
    if (verdicts_.size() < verdicts_max) verdicts_.push_back({rules, permit});
    return permit;
  }

 private:
  struct Verdict {
    std::shared_ptr<const TopicRules> rules;  // held, so that no other rules have this address
    bool permit = false;
  };
  static constexpr std::size_t verdicts_max = 16;
  mutable std::vector<Verdict> verdicts_;
};

struct Route {
  std::vector<RouteTarget> targets;
  std::vector<RouteGroup> groups;
  std::vector<shm::Feed*> feeds;  // rings and tables of local readers

  bool empty() const { return targets.empty() && groups.empty() && feeds.empty(); }
};

class RouteCache;

// Valid while the subscription index says that nothing touching the topic changed since version().
// It is forgotten before it is destroyed, unless its RouteCache is not asked any more.
class CachedRoute {
 public:
  CachedRoute() = default;
  CachedRoute(const CachedRoute&) = delete;
  CachedRoute& operator=(const CachedRoute&) = delete;
  ~CachedRoute() { delete routed(); }

  // Or it was dropped to make room.
  bool never_computed() const {
    return word_ == never || (!matches_nothing() && routed()->version == no_version);
  }
  std::uint64_t version() const { return matches_nothing() ? word_ >> 1 : routed()->version; }
  // Of one that was dropped the feeds are left, for the values of the batch in which it was.
  const Route& route() const {
    static const Route nothing;
    return matches_nothing() ? nothing : routed()->route;
  }

  // `last_use`: a number that rises with each use of the route; it stays where it is.
  void set(Route&& route, std::uint64_t version, RouteCache& cache, const std::uint64_t& last_use);
  void forget(RouteCache& cache);
  std::uint64_t memory_bytes() const { return matches_nothing() ? 0 : routed()->memory_bytes(); }
  // Nothing that touches the topic changed up to this version.
  void still_valid(std::uint64_t version) {
    MILLRACE_CHECK(!never_computed() && version >= this->version());
    if (matches_nothing()) {
      word_ = nothing_as_of(version);
    } else {
      routed()->version = version;
    }
  }

 private:
  friend class RouteCache;
  static constexpr std::uint64_t no_version = UINT64_MAX;

  struct Routed;
  // The place of a large route in the order in which routes are dropped.
  struct Place : boost::intrusive::list_base_hook<
                     boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
    Place(Routed& of, const std::uint64_t& use) : routed(&of), last_use(&use), seen_use(use) {}
    Routed* routed;
    const std::uint64_t* last_use;
    std::uint64_t seen_use;
  };
  struct Routed {
    std::uint64_t version;
    Route route;
    std::unique_ptr<Place> place;  // null: too small to be worth dropping, or dropped

    std::uint64_t memory_bytes() const;
  };

  static std::uintptr_t nothing_as_of(std::uint64_t version) { return version << 1 | 1; }
  bool matches_nothing() const { return (word_ & 1) != 0; }
  Routed* routed() const { return matches_nothing() ? nullptr : reinterpret_cast<Routed*>(word_); }

  static constexpr std::uintptr_t never = ~std::uintptr_t{0};

  // A Routed's address; or, as for most topics that are only stored, the version as of which
  // nothing matched, above a bit that is set.
  std::uintptr_t word_ = never;
};

// RouteCache: what all cached routes take, and which of them go to make room: those that were
// computed longest ago and not used since. Only routes to many are worth it; the others are as many
// as topics, and as small.
class RouteCache {
 public:
  RouteCache() = default;
  RouteCache(const RouteCache&) = delete;
  RouteCache& operator=(const RouteCache&) = delete;

  std::uint64_t memory_bytes() const { return memory_bytes_; }
  // Drops routes until what is left takes no more than that, or is small, but `count_max` at most.
  // Returns how many went. No route may be in use.
  std::size_t drop_to(std::uint64_t bytes_max, std::size_t count_max = SIZE_MAX);

 private:
  friend class CachedRoute;
  using Places =
      boost::intrusive::list<CachedRoute::Place, boost::intrusive::constant_time_size<false>>;

  // So many in a row are spared for having been used: with all in use, the one that is dropped is not
  // found by going through all.
  static constexpr std::size_t spared_max = 64;

  void add(CachedRoute::Routed& routed, const std::uint64_t& last_use);
  void remove(const CachedRoute::Routed& routed);

  Places places_;  // the next to go first
  std::uint64_t memory_bytes_ = 0;
};

}  // namespace millrace::broker
