#include "core/broker/fan_out.hpp"

#include <cassert>

namespace millrace::broker {

namespace {
// Measured against a unit of 2 ms / ProcessorLimits::units_per_batch: so many messages are bound to a
// connection in its time; and so much of a topic's name is looked at.
constexpr std::size_t targets_per_unit = 2;
constexpr std::size_t topic_bytes_per_unit = 512;
}  // namespace

std::size_t FanOut::publish(Topic& topic, const Route& route, PublishContext& context) {
  if (context.message.request) [[unlikely]]
    deliverer_.before_request(route);
  for (const RouteTarget& target : route.targets) deliverer_.deliver(target, context);
  batch_.spend(route.targets.size() / targets_per_unit +
               topic.name().size() / topic_bytes_per_unit);
  // Delivering a message neither publishes another one nor computes a route.
  MILLRACE_CHECK(topic.sequence == values_.sequence() && &topic.cached_route.route() == &route);
  std::size_t matched = route.targets.size() + route.feeds.size();
  if (!route.feeds.empty()) {
    MILLRACE_CHECK(local_ != nullptr);
    local_->append(route.feeds, context.message);
  }
  for (const RouteGroup& group : route.groups) matched += to_group(group, context) ? 1 : 0;
  values_.note(topic, context);
  return matched;
}

bool FanOut::to_group(const RouteGroup& group, PublishContext& context) {
  const Subscription* member = router_.take_turn(group, context.message);
  if (member == nullptr) return false;
  MILLRACE_CHECK(member->extras.read().group == group.group);
  deliverer_.deliver_to_member(*member, context);
  return true;
}

}  // namespace millrace::broker
