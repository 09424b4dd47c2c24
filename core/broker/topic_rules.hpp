// TopicRules: which topics a user may read, or publish to. An ordered list; the first rule whose
// filter matches a topic decides, and when none does, `otherwise`.
//
// A subscription is judged once, by its filter. One that is covered by a rule that denies is
// refused; one that merely overlaps such a rule is granted, and carries these rules with it: the
// match of each topic (a cached route, a stored value) leaves it out where a rule denies the topic.
// So `#` stays useful beside a secret, and nothing is asked per message.
//
// Several lists may have to agree: then each must permit, and a filter is granted as far as all do.
//
// A topic or filter meets only the rules that may have to do with it: rules are kept by what stands
// before their first wildcard. Of a thousand rules for a thousand names, it meets one.
//
// Threads: constant after construction; any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "protocol/reason_code.hpp"

namespace millrace::broker {

struct TopicRule {
  bool allow = false;
  std::string filter;
  // Of a rule that denies: what the client is told.
  protocol::ReasonCode refusal = protocol::ReasonCode::not_authorized;
  // Of a rule that allows: it does not concern messages of a higher QoS, and subscriptions whose
  // whole filter it covers are granted no more.
  std::uint8_t qos_max = 2;
  std::optional<bool> retained = {};  // concerns messages with this RETAIN alone; unset: all

  friend bool operator==(const TopicRule&, const TopicRule&) = default;
};

// How a message is published, as far as rules ask.
struct PublishedHow {
  std::uint8_t qos = 0;
  bool retain = false;
};

class TopicRules {
 public:
  // `others` must permit as well; none is null.
  using Others = std::vector<std::shared_ptr<const TopicRules>>;
  TopicRules(std::vector<TopicRule> rules, bool otherwise_allow, Others others = {});

  // No rule limits anything.
  bool allow_all() const { return rules_.empty() && otherwise_allow_ && others_.empty(); }
  std::size_t size() const;

  // Why not; nothing: the topic is permitted.
  std::optional<protocol::ReasonCode> refusal(std::string_view topic, PublishedHow how = {}) const;
  bool permit(std::string_view topic) const { return !refusal(topic); }

  // What of a filter's topics may be read: all, or those that permit() says; else why none.
  enum class Extent : std::uint8_t { whole, part };
  protocol::Result<Extent> extent(std::string_view filter) const;
  // The highest QoS that a subscription by this filter is granted.
  std::uint8_t qos_max(std::string_view filter) const;

  // How many rules a topic or filter may be held against, at most.
  std::size_t count_met_by(std::string_view filter) const;

  friend bool operator==(const TopicRules& left, const TopicRules& right);

 private:
  using Number = std::uint32_t;  // of a rule, in rules_
  using ByPrefix = std::map<std::string, std::vector<Number>, std::less<>>;

  // The first of them, in order, for which `decides` is true; null: none.
  template <class Decides>
  const TopicRule* first_met(std::string_view filter, Decides&& decides) const;
  // Calls visit(numbers) with those whose prefix `filter` begins with.
  template <class Visit>
  void for_each_above(std::string_view filter, Visit&& visit) const;
  // Calls visit(numbers) with those whose prefix begins with that of `filter`, until it says true.
  template <class Visit>
  bool any_below(std::string_view filter, Visit&& visit) const;
  // The first whose filter covers this one as a whole; null: none.
  const TopicRule* first_that_covers(std::string_view filter) const;
  // Without the others'.
  std::optional<protocol::ReasonCode> own_refusal(std::string_view topic, PublishedHow how) const;
  protocol::Result<Extent> own_extent(std::string_view filter) const;

  std::vector<TopicRule> rules_;
  bool otherwise_allow_;
  // By the levels before the first wildcard; rising numbers. Empty if there are few rules.
  ByPrefix by_prefix_;
  std::size_t prefix_bytes_max_ = 0;
  Others others_;
};

}  // namespace millrace::broker
