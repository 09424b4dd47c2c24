// SharedLeftovers: the messages of shared subscriptions that a session was to get and will not, as
// it ends or may not read them any more. At QoS 1 they go to another member of their group; QoS 2
// does not [MQTT-4.8.2-4], [MQTT-4.8.2-5].
//
// What waits in a session may be very much: then its queue itself is kept, with the names of the
// groups, and handed on in slices (Backlog::next_heritable()). So is all that a session leaves which
// ends by what another one left: each of a thousand members may do so. A group that ended by then,
// and was not made anew, gets none of it.
//
// Threads: the processor's holder alone, within one batch.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/broker/fan_out.hpp"
#include "core/broker/route.hpp"
#include "core/broker/session.hpp"

namespace millrace::broker {

class SharedLeftovers {
 public:
  // As long as the session is a member of its groups.
  explicit SharedLeftovers(const Session& session) {
    if (session.subscriptions.read().shared_count == 0) return;
    session.subscriptions.read().of.for_each([&](const Subscription& one) {
      if (SharedGroup* group = one.extras.read().group) groups_.emplace(one.number, group);
    });
  }
  // The session has no shared subscription.
  bool never() const { return groups_.empty(); }
  // For what is handed on later, when a group may have ended.
  SharedHeirs heirs() const {
    SharedHeirs heirs;
    for (const auto& [number, group] : groups_) {
      heirs.groups.emplace(number, Router::key_of(*group));
    }
    return heirs;
  }

  // What the session will not get; `subscription` is the number of the one that it came by.
  void add(std::uint32_t subscription, const Delivery& delivery) {
    const auto group = groups_.find(subscription);
    if (group != groups_.end() && delivery.qos == 1) {
      left_.emplace_back(group->second, delivery.message);
    }
  }

  // Once the session takes none of them any more.
  void hand_on(FanOut& fan_out) {
    // It may be that the member which a message goes to ends by it, and the group with that member.
    for (auto& [group, message] : left_) {
      PublishContext context(message);
      fan_out.to_group(RouteGroup(*group), context);
    }
    left_.clear();
  }

 private:
  std::unordered_map<std::uint32_t, SharedGroup*> groups_;  // by Subscription::number
  std::vector<std::pair<SharedGroup*, Message>> left_;
};

}  // namespace millrace::broker
