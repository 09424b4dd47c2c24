#include "server/upstream/crossing.hpp"

#include "protocol/topic.hpp"
#include "server/upstream/hops.hpp"

namespace millrace::server {

std::optional<LinkRefusal> refusal_in(const UpstreamPlan& plan, const TopicMap::Rule* rule,
                                      std::string_view topic,
                                      std::span<const std::uint8_t> properties,
                                      std::uint32_t levels_max) {
  if (rule == nullptr) return LinkRefusal::no_rule;
  if (topic.empty() || protocol::is_reserved_topic(topic)) return LinkRefusal::topic;
  if (topic.size() >= levels_max && protocol::level_count(topic) > levels_max) {
    return LinkRefusal::topic;
  }
  if (hops_of(properties) >= plan.config.hops_max) return LinkRefusal::hops;
  return std::nullopt;
}

std::optional<LinkRefusal> refusal_out(const UpstreamPlan& plan, const broker::Message& message,
                                       bool counts_hops) {
  const TopicMap::Rule* rule = plan.map.outbound(message.topic());
  if (rule == nullptr) return LinkRefusal::no_rule;  // of a plan before this one
  if (rule->renames() && TopicMap::to_remote(*rule, message.topic()).empty()) {
    return LinkRefusal::topic;
  }
  if (!counts_hops || !message.has_properties) return std::nullopt;
  // The next one would refuse it.
  const bool too_many = hops_of(message.properties().bytes) >= plan.config.hops_max;
  return too_many ? std::optional(LinkRefusal::hops) : std::nullopt;
}

}  // namespace millrace::server
