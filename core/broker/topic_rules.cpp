#include "core/broker/topic_rules.hpp"

#include "protocol/topic.hpp"

namespace millrace::broker {

using protocol::ReasonCode;

std::optional<ReasonCode> TopicRules::refusal(std::string_view topic) const {
  for (const TopicRule& rule : rules_) {
    if (!protocol::matches(rule.filter, topic)) continue;
    return rule.allow ? std::nullopt : std::optional(rule.refusal);
  }
  return otherwise_allow_ ? std::nullopt : std::optional(ReasonCode::not_authorized);
}

protocol::Result<TopicRules::Extent> TopicRules::extent(std::string_view filter) const {
  Extent extent = Extent::whole;
  for (const TopicRule& rule : rules_) {
    if (protocol::covers(rule.filter, filter)) {
      if (!rule.allow) return rule.refusal;
      return extent;
    }
    if (!rule.allow && protocol::overlaps(rule.filter, filter)) extent = Extent::part;
  }
  if (!otherwise_allow_) return ReasonCode::not_authorized;
  return extent;
}

}  // namespace millrace::broker
