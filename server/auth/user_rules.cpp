#include "server/auth/user_rules.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace millrace::server {

namespace {

using broker::Arrival;

// The reason that a rule gives to whom it refuses.
protocol::ReasonCode reason_code(RefusalReason reason) {
  return reason == RefusalReason::unspecified ? protocol::ReasonCode::unspecified_error
                                              : protocol::ReasonCode::not_authorized;
}

// Where each user has client identifiers of its own, the user stands in front, and a zero byte.
std::string_view client_id_of(const Arrival& arrival) {
  return arrival.client_id.substr(arrival.client_id.rfind('\0') + 1);
}

bool names(const std::string& pattern, std::string_view client_id) {
  if (!pattern.ends_with('*')) return client_id == pattern;
  return client_id.starts_with(std::string_view(pattern).substr(0, pattern.size() - 1));
}

bool has_placeholder(std::string_view filter) {
  return filter.find("%u") != std::string_view::npos || filter.find("%c") != std::string_view::npos;
}

// One level with its placeholders filled in; nothing: a value is no plain part of a level.
std::optional<std::string> fill_in_level(std::string_view level, std::string_view user,
                                         std::string_view client_id, bool allow) {
  std::string filled;
  for (std::size_t at = 0; at < level.size();) {
    const std::string_view two = level.substr(at, 2);
    if (two != "%u" && two != "%c") {
      filled += level[at++];
      continue;
    }
    const std::string_view value = two == "%u" ? user : client_id;
    const bool is_wide = value.empty() || value.find_first_of("+#/") != std::string_view::npos;
    if (is_wide || (allow && value.front() == '$')) return std::nullopt;
    filled += value;
    at += 2;
  }
  return filled;
}

// Whether a value that goes into this level is of several levels itself.
bool has_levels(std::string_view level, std::string_view user, std::string_view client_id) {
  const auto brings = [&](std::string_view placeholder, std::string_view value) {
    return level.find(placeholder) != std::string_view::npos &&
           value.find('/') != std::string_view::npos;
  };
  return brings("%u", user) || brings("%c", client_id);
}

}  // namespace

std::optional<std::string> fill_in(std::string_view filter, std::string_view user,
                                   std::string_view client_id, bool allow) {
  std::string filled;
  for (bool is_first = true;; is_first = false) {
    const auto slash = std::min(filter.find('/'), filter.size());
    if (!is_first) filled += '/';
    const std::string_view level = filter.substr(0, slash);
    if (const auto plain = fill_in_level(level, user, client_id, allow)) {
      filled += *plain;
    } else if (allow) {
      return std::nullopt;
    } else if (has_levels(level, user, client_id)) {  // denies more than was meant, and never less
      return filled + '#';
    } else {
      filled += '+';
    }
    if (slash == filter.size()) return filled;
    filter.remove_prefix(slash + 1);
  }
}

std::uint16_t listener_number(const Config& config, std::string_view name) {
  for (std::size_t i = 0; i < config.listeners.size(); ++i) {
    if (config.listeners[i].name == name) return static_cast<std::uint16_t>(i);
  }
  return Arrival{}.listener;
}

UserRules::UserRules(const AccessConfig& config, const std::vector<std::string>& listeners)
    : otherwise_allow_(config.unmatched() == AccessEffect::allow) {
  bool same_for_all = true;
  for (const AccessRule& rule : config.rules) {
    Rule made{rule, address_ranges(rule.address), {}, false, has_placeholder(rule.filter)};
    for (std::size_t i = 0; rule.listener && i < listeners.size(); ++i) {
      if (listeners[i] == *rule.listener) made.listeners.push_back(static_cast<std::uint16_t>(i));
    }
    if (rule.listener == http_listener_name) made.listeners.push_back(http_listener);
    if (rule.listener == local_listener_name) made.listeners.push_back(local_listener);
    made.asks_arrival = rule.client_id || !rule.address.empty() || rule.listener ||
                        rule.filter.find("%c") != std::string::npos;
    ask_arrival_ = ask_arrival_ || made.asks_arrival;
    const auto number = static_cast<std::uint32_t>(rules_.size());
    (rule.user ? of_user_[*rule.user] : of_everybody_).push_back(number);
    if (!rule.user && (made.asks_arrival || made.has_placeholder)) same_for_all = false;
    rules_.push_back(std::move(made));
  }
  if (same_for_all) for_everybody_ = make(of_everybody_, "", {});
}

UserRules::Lists UserRules::of(const std::string& user, const Arrival& arrival) const {
  const auto own = of_user_.find(user);
  if (own == of_user_.end()) {
    return for_everybody_ ? *for_everybody_ : make(of_everybody_, user, arrival);
  }
  Numbers all;
  std::merge(own->second.begin(), own->second.end(), of_everybody_.begin(), of_everybody_.end(),
             std::back_inserter(all));
  return make(all, user, arrival);
}

bool UserRules::concerns(const Rule& rule, const Arrival& arrival) {
  if (!rule.asks_arrival) return true;
  if (rule.rule.client_id && !names(*rule.rule.client_id, client_id_of(arrival))) return false;
  if (!rule.rule.address.empty() && !any_contains(rule.addresses, arrival.address)) return false;
  return !rule.rule.listener || std::find(rule.listeners.begin(), rule.listeners.end(),
                                          arrival.listener) != rule.listeners.end();
}

UserRules::Lists UserRules::make(const Numbers& numbers, const std::string& user,
                                 const Arrival& arrival) const {
  std::vector<broker::TopicRule> publish, subscribe, receive;
  for (const std::uint32_t number : numbers) {
    const Rule& rule = rules_[number];
    if (!concerns(rule, arrival)) continue;
    const bool allow = rule.rule.effect == AccessEffect::allow;
    broker::TopicRule made{allow, rule.rule.filter, reason_code(rule.rule.reason),
                           static_cast<std::uint8_t>(rule.rule.qos_max), rule.rule.retained};
    if (rule.has_placeholder) {
      auto filter = fill_in(rule.rule.filter, user, client_id_of(arrival), allow);
      if (!filter) continue;
      made.filter = std::move(*filter);
    }
    const AccessAction action = rule.rule.action;
    if (action == AccessAction::receive) {
      receive.push_back(std::move(made));
      continue;
    }
    if (action != AccessAction::subscribe) publish.push_back(made);
    if (action != AccessAction::publish) subscribe.push_back(std::move(made));
  }
  const auto list = [](std::vector<broker::TopicRule>& rules, bool otherwise_allow) -> RulesRef {
    if (rules.empty() && otherwise_allow) return nullptr;
    return std::make_shared<const broker::TopicRules>(std::move(rules), otherwise_allow);
  };
  return {list(publish, otherwise_allow_), list(subscribe, otherwise_allow_), list(receive, true)};
}

}  // namespace millrace::server
