// Route: who gets the messages of a topic. CachedRoute: a topic's route as it was when it was
// computed last, in the space of one pointer.
//
// Threads: the processor's holder alone.
#pragma once

#include <boost/intrusive_ptr.hpp>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "core/broker/check.hpp"
#include "core/broker/session.hpp"
#include "core/broker/topic_rules.hpp"

namespace millrace::shm {
struct Feed;
}

namespace millrace::broker {

// One subscriber of a topic, resolved: overlapping subscriptions of a 3.1.1 client are merged, and
// a session's strongest mode counts for all of its subscriptions to the topic.
struct RouteTarget {
  Session* session = nullptr;
  std::uint32_t subscription = 0;  // Subscription::number; the lowest of those that are merged
  std::uint32_t identifier = 0;    // Subscription Identifier, one of them; 0: none
  std::uint32_t interval_ms = 0;   // rate limit; 0: none
  std::uint8_t qos = 0;
  Mode mode = Mode::adaptive;
  bool retain_as_published = false;
  bool no_local = false;
  boost::intrusive_ptr<SubscriptionIdentifiers> identifiers;  // all of them; null: none
};

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

// Valid while the subscription index says that nothing touching the topic changed since version().
class CachedRoute {
 public:
  CachedRoute() = default;
  CachedRoute(const CachedRoute&) = delete;
  CachedRoute& operator=(const CachedRoute&) = delete;
  ~CachedRoute() { delete routed(); }

  bool never_computed() const { return word_ == never; }
  std::uint64_t version() const { return matches_nothing() ? word_ >> 1 : routed()->version; }
  const Route& route() const {
    static const Route nothing;
    return matches_nothing() ? nothing : routed()->route;
  }

  void set(Route&& route, std::uint64_t version) {
    delete routed();
    word_ = route.empty() ? nothing_as_of(version)
                          : reinterpret_cast<std::uintptr_t>(new Routed{version, std::move(route)});
  }
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
  struct Routed {
    std::uint64_t version;
    Route route;
  };
  static std::uintptr_t nothing_as_of(std::uint64_t version) { return version << 1 | 1; }
  bool matches_nothing() const { return (word_ & 1) != 0; }
  Routed* routed() const { return matches_nothing() ? nullptr : reinterpret_cast<Routed*>(word_); }

  static constexpr std::uintptr_t never = ~std::uintptr_t{0};

  // A Routed's address; or, as for most topics that are only stored, the version as of which
  // nothing matched, above a bit that is set.
  std::uintptr_t word_ = never;
};

}  // namespace millrace::broker
