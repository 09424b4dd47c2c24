#include "core/broker/fan_out.hpp"

#include <cassert>

namespace millrace::broker {

std::size_t FanOut::publish(Topic& topic, const Route& route, PublishContext& context) {
  if (context.message.request) [[unlikely]]
    deliverer_.before_request(route);
  for (const RouteTarget& target : route.targets) deliverer_.deliver(target, context);
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
