// Source: MQTT 5.0 sections 4.1, 4.4, 4.8.2; the delivery contract, docs/delivery.md.
#include "core/broker/revoker.hpp"

#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "core/broker/journal.hpp"
#include "core/broker/shared_leftovers.hpp"
#include "core/broker/subscription_index.hpp"
#include "core/broker/topic_hash.hpp"
#include "protocol/topic.hpp"

namespace millrace::broker {

namespace {

// So many rules or filters are compared with a topic in one unit of work.
constexpr std::uint64_t compared_per_unit = 8;

std::uint64_t rule_count(const Session& session) {
  const Rights& rights = *session.rights;
  return (rights.subscribe ? rights.subscribe->size() : 0) +
         (rights.receive ? rights.receive->size() : 0);
}

}  // namespace

// Which of what waits may still go out. Asked once a topic: many messages of few topics wait.
class Revoker::WhatWaits {
 public:
  // `refused`: subscriptions that were taken away, and are still the session's.
  WhatWaits(const Router& router, const Session& session, const std::vector<Subscription*>& refused)
      : router_(router), session_(session), leftovers_(session) {
    for (const Subscription* one : refused) refused_.emplace(one->number, one);
  }

  // `subscription`: the number of the one that it came by. False: it must not go out.
  bool may_go(std::uint32_t subscription, const Delivery& delivery) {
    const std::string_view topic = delivery.message.topic();
    const auto [judged, is_new] = topics_.try_emplace(std::string(topic));
    Verdict& verdict = judged->second;
    if (is_new) verdict.readable = session_.rights->may_read(topic);
    bool may_go = verdict.readable;
    const auto refused = refused_.find(subscription);
    if (may_go && refused != refused_.end()) {
      const auto [found, is_first] = verdict.came_by_another.try_emplace(subscription, false);
      if (is_first) found->second = came_by_another(*refused->second, topic);
      may_go = found->second;
    }
    if (!may_go) leftovers_.add(subscription, delivery);
    return may_go;
  }

  SharedLeftovers& leftovers() { return leftovers_; }
  std::uint64_t topics() const { return topics_.size(); }
  std::uint64_t filters_asked() const { return filters_asked_; }  // of those that stay

 private:
  struct Verdict {
    bool readable = false;
    std::map<std::uint32_t, bool> came_by_another;  // by the number of one that was refused
  };

  // A copy that overlapping subscriptions share bears the number of one of them.
  bool came_by_another(const Subscription& refused, std::string_view topic) {
    const auto key = router_.copy_key(refused);
    if (!key) return false;
    if (!staying_) index_those_that_stay();
    bool found = false;
    filters_asked_ += staying_->match(below(*key, topic), [&](const Subscription* one) {
      found = found || protocol::matches(one->filter(), topic);  // [MQTT-4.7.2-1]
    });
    return found;
  }

  // There may be as many of them as topics. Those that share copies stand below the same first level.
  void index_those_that_stay() {
    staying_.emplace();
    std::unordered_set<std::string> known;
    session_.subscriptions.read().of.for_each([&](const Subscription& one) {
      const auto key = router_.copy_key(one);
      if (!key || refused_.contains(one.number)) return;
      const std::string filter = below(*key, one.filter());
      if (!known.insert(filter).second) return;
      indexed_.push_back(Subscription::make(one.filter(), one.filter()));
      staying_->add(filter, indexed_.back().get());
    });
  }
  static std::string below(std::uint64_t key, std::string_view name) {
    return (std::to_string(key) + "/").append(name);
  }

  const Router& router_;
  const Session& session_;
  SharedLeftovers leftovers_;
  std::unordered_map<std::uint32_t, const Subscription*> refused_;  // by Subscription::number
  std::unordered_map<std::string, Verdict, TopicHash> topics_;
  std::optional<SubscriptionIndex> staying_;  // once it is asked for
  std::vector<std::unique_ptr<Subscription>> indexed_;
  std::uint64_t filters_asked_ = 0;
};

std::uint64_t Revoker::apply(Session& session, RightsRef rights) {
  const std::uint64_t units = bring_under(session, std::move(rights));
  batch_.stats().work_units.add(units);
  return units;
}

std::uint64_t Revoker::bring_under(Session& session, RightsRef rights) {
  std::uint64_t units = 1;
  const bool same = same_rights(session.rights, rights, units);
  session.rights = std::move(rights);
  if (same) return units;
  if (!session.rights) session.rights.reset(new Rights);  // which limits nothing
  const std::vector<Subscription*> refused = judge_subscriptions(session);
  const std::uint64_t subscriptions = session.subscriptions.read().of.size();
  units += subscriptions * (1 + rule_count(session) / compared_per_unit);

  backlog_.seal(session);  // what rate limits hold back waits with the rest
  WhatWaits judge(router_, session, refused);
  units += session.pending.size() + session.inflight.unsettled();
  const std::size_t dropped = session.pending.remove_if([&](const PendingEntry& entry) {
    if (judge.may_go(entry.subscription, entry.delivery)) return false;
    if (session.stored) batch_.journal()->gone(session, entry.delivery);
    return true;
  });
  batch_.stats().drop(Drop::revoked, dropped);
  drop_inflight(session, judge);
  session.sent_unjudged = !session.inflight.empty();
  units += (judge.topics() * rule_count(session) + judge.filters_asked()) / compared_per_unit;
  if (!refused.empty()) end_subscriptions(session, refused);
  judge.leftovers().hand_on(fan_out_);
  backlog_.update_gauges(session);
  if (!session.connected()) return units;
  session.update_binding();
  if (session.pending.empty()) publisher_acks_.release(session);
  backlog_.unfold_if_caught_up(session);
  deliverer_.serve_later(session);
  return units;
}

void Revoker::before_resume(Session& session) {
  if (!session.sent_unjudged) return;
  session.sent_unjudged = false;
  batch_.stats().work_units.add(session.inflight.unsettled());
  WhatWaits judge(router_, session, {});
  drop_inflight(session, judge);
  judge.leftovers().hand_on(fan_out_);
}

bool Revoker::same_rights(const RightsRef& before, const RightsRef& after, std::uint64_t& units) {
  return same_rules(before ? before->subscribe : nullptr, after ? after->subscribe : nullptr,
                    subscribe_compared_, units) &&
         same_rules(before ? before->receive : nullptr, after ? after->receive : nullptr,
                    receive_compared_, units);
}

bool Revoker::same_rules(const RulesRef& before, const RulesRef& after, Compared& last,
                         std::uint64_t& units) {
  if (before == after) return true;
  if (!before || !after) return false;
  if (last.before == before && last.after == after) return last.same;
  units += 1 + before->size() / compared_per_unit;
  last = {before, after, *before == *after};
  return last.same;
}

// Gives those that stay their rules, and returns the others.
std::vector<Subscription*> Revoker::judge_subscriptions(Session& session) {
  std::vector<Subscription*> refused;
  session.subscriptions.read().of.for_each([&](Subscription& one) {
    if (auto rules = session.rights->subscription(one.filter())) {
      const std::uint8_t qos_max = session.rights->subscription_qos_max(one.filter());
      router_.set_rules(one, std::move(*rules), qos_max);
    } else {
      refused.push_back(&one);
    }
  });
  return refused;
}

void Revoker::end_subscriptions(Session& session, const std::vector<Subscription*>& refused) {
  std::vector<const Subscription*> ended;
  for (Subscription* one : refused) {
    // The name is the subscription's own text, which outlives this.
    ended.push_back(router_.unsubscribe(session, one->name()));
  }
  deliverer_.drop_snapshots(session, ended);
  backlog_.unsubscribed(session, ended);
  session.forget_empty_deferred();
  batch_.stats().subscriptions_revoked.add(ended.size());
}

// What the present connection was sent is the client's already; all else would be sent (again).
void Revoker::drop_inflight(Session& session, WhatWaits& judge) {
  std::vector<std::uint16_t> dropped;
  session.inflight.for_each_unsettled([&](const Inflight& entry) {
    if (entry.state == InflightState::awaits_pubcomp) return;  // no message any more
    if (session.connected() && !entry.unsent) return;
    if (!judge.may_go(entry.subscription, entry.delivery)) {
      dropped.push_back(entry.delivery.packet_id);
    }
  });
  for (const std::uint16_t packet_id : dropped) {
    Inflight& entry = *session.inflight.find(packet_id);
    if (session.stored) batch_.journal()->gone(session, entry.delivery);
    session.inflight.settle(entry);
  }
  batch_.stats().inflight.subtract(dropped.size());
  batch_.stats().drop(Drop::revoked, dropped.size());
  if (!dropped.empty()) batch_.note_less(session);
}

}  // namespace millrace::broker
