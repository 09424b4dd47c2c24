#include "core/broker/topic_rules.hpp"

#include <algorithm>

#include "protocol/topic.hpp"

namespace millrace::broker {

using protocol::ReasonCode;

namespace {

// So few are held against a topic faster than they are looked up.
constexpr std::size_t unsorted_max = 16;

// The levels before the first one that is a wildcard, without the '/' in between.
std::string_view literal_prefix(std::string_view filter) {
  const std::size_t wildcard = filter.find_first_of("+#");
  if (wildcard == std::string_view::npos) return filter;
  return filter.substr(0, wildcard == 0 ? 0 : wildcard - 1);
}

}  // namespace

TopicRules::TopicRules(std::vector<TopicRule> rules, bool otherwise_allow, Others others)
    : rules_(std::move(rules)), otherwise_allow_(otherwise_allow), others_(std::move(others)) {
  if (rules_.size() <= unsorted_max) return;
  for (Number number = 0; number < rules_.size(); ++number) {
    const std::string_view prefix = literal_prefix(rules_[number].filter);
    by_prefix_[std::string(prefix)].push_back(number);
    prefix_bytes_max_ = std::max(prefix_bytes_max_, prefix.size());
  }
}

std::size_t TopicRules::size() const {
  std::size_t size = rules_.size();
  for (const auto& other : others_) size += other->size();
  return size;
}

bool operator==(const TopicRules& left, const TopicRules& right) {
  return left.otherwise_allow_ == right.otherwise_allow_ && left.rules_ == right.rules_ &&
         std::ranges::equal(left.others_, right.others_, [](const auto& one, const auto& other) {
           return one == other || *one == *other;
         });
}

template <class Visit>
void TopicRules::for_each_above(std::string_view filter, Visit&& visit) const {
  const std::string_view prefix = literal_prefix(filter);
  const auto visit_one = [&](std::string_view key) {
    if (const auto found = by_prefix_.find(key); found != by_prefix_.end()) visit(found->second);
  };
  visit_one("");
  for (std::size_t end = 0; end < prefix.size() && end <= prefix_bytes_max_;) {
    end = std::min(prefix.find('/', end), prefix.size());
    if (end > 0) visit_one(prefix.substr(0, end));
    ++end;
  }
  // "a/" has a last level, which is empty.
  if (prefix.ends_with('/')) visit_one(prefix);
}

template <class Visit>
bool TopicRules::any_below(std::string_view filter, Visit&& visit) const {
  const std::size_t wildcard = filter.find_first_of("+#");
  if (wildcard == std::string_view::npos) return false;
  const std::string_view before = filter.substr(0, wildcard);  // with the '/'
  for (auto one = by_prefix_.lower_bound(before); one != by_prefix_.end(); ++one) {
    if (!one->first.starts_with(before)) return false;
    if (one->first.empty()) continue;  // it is above
    if (visit(one->second)) return true;
  }
  return false;
}

template <class Decides>
const TopicRule* TopicRules::first_met(std::string_view filter, Decides&& decides) const {
  if (by_prefix_.empty()) {
    const auto found = std::find_if(rules_.begin(), rules_.end(), decides);
    return found == rules_.end() ? nullptr : &*found;
  }
  std::size_t first = rules_.size();
  for_each_above(filter, [&](const std::vector<Number>& numbers) {
    for (const Number number : numbers) {
      if (number >= first) return;
      if (decides(rules_[number])) first = number;
    }
  });
  return first == rules_.size() ? nullptr : &rules_[first];
}

std::optional<ReasonCode> TopicRules::refusal(std::string_view topic, PublishedHow how) const {
  auto refused = own_refusal(topic, how);
  for (auto other = others_.begin(); !refused && other != others_.end(); ++other) {
    refused = (*other)->refusal(topic, how);
  }
  return refused;
}

std::optional<ReasonCode> TopicRules::own_refusal(std::string_view topic, PublishedHow how) const {
  const TopicRule* const rule = first_met(topic, [&](const TopicRule& one) {
    return how.qos <= one.qos_max && (!one.retained || *one.retained == how.retain) &&
           protocol::matches(one.filter, topic);
  });
  if (rule != nullptr) return rule->allow ? std::nullopt : std::optional(rule->refusal);
  return otherwise_allow_ ? std::nullopt : std::optional(ReasonCode::not_authorized);
}

const TopicRule* TopicRules::first_that_covers(std::string_view filter) const {
  return first_met(filter,
                   [&](const TopicRule& one) { return protocol::covers(one.filter, filter); });
}

std::uint8_t TopicRules::qos_max(std::string_view filter) const {
  const TopicRule* const decisive = first_that_covers(filter);
  std::uint8_t max = decisive == nullptr ? 2 : decisive->qos_max;
  for (const auto& other : others_) max = std::min(max, other->qos_max(filter));
  return max;
}

protocol::Result<TopicRules::Extent> TopicRules::extent(std::string_view filter) const {
  auto extent = own_extent(filter);
  for (auto other = others_.begin(); extent && other != others_.end(); ++other) {
    const auto its = (*other)->extent(filter);
    if (!its) return its.error();
    if (*its == Extent::part) extent = Extent::part;
  }
  return extent;
}

protocol::Result<TopicRules::Extent> TopicRules::own_extent(std::string_view filter) const {
  const TopicRule* const decisive = first_that_covers(filter);
  if (decisive != nullptr && !decisive->allow) return decisive->refusal;
  if (decisive == nullptr && !otherwise_allow_) return ReasonCode::not_authorized;
  // Of the rules before it, one that denies a part?
  const std::size_t end = decisive == nullptr ? rules_.size() : decisive - rules_.data();
  const auto takes_a_part = [&](const TopicRule& rule) {
    return !rule.allow && protocol::overlaps(rule.filter, filter);
  };
  bool part = false;
  if (by_prefix_.empty()) {
    part = std::any_of(rules_.data(), rules_.data() + end, takes_a_part);
  } else {
    const auto any_of = [&](const std::vector<Number>& numbers) {
      return std::ranges::any_of(
          numbers, [&](Number number) { return number < end && takes_a_part(rules_[number]); });
    };
    for_each_above(filter,
                   [&](const std::vector<Number>& numbers) { part = part || any_of(numbers); });
    part = part || any_below(filter, any_of);
  }
  return part ? Extent::part : Extent::whole;
}

std::size_t TopicRules::count_met_by(std::string_view filter) const {
  std::size_t count = 0;
  for (const auto& other : others_) count += other->count_met_by(filter);
  if (by_prefix_.empty()) return count + rules_.size();
  const auto add = [&](const std::vector<Number>& numbers) {
    count += numbers.size();
    return false;
  };
  for_each_above(filter, add);
  any_below(filter, add);
  return count;
}

}  // namespace millrace::broker
