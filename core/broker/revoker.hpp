// Revoker: brings one session under new rights of its owner: its subscriptions, and what waits in
// it. What the owner may not read any more is not sent; what was sent already, or is bound to the
// connection, is not taken back.
//
// What always holds, after a call: no subscription of the session is one that its rights refuse, and
// each asks the rules that its rights give it; nothing waits in the backlog, or inflight to be sent
// (again), that the rights do not permit or that came by a subscription which was taken away alone.
//
// Its effort grows with what the session holds, times the rules. Each call counts it as work of the
// batch, as a client that comes back with other rights asks for it too, and says how much it was, in
// the units of ProcessorLimits::review_units_per_batch.
//
// Threads: the processor's holder alone.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "core/broker/backlog.hpp"
#include "core/broker/batch.hpp"
#include "core/broker/deliverer.hpp"
#include "core/broker/fan_out.hpp"
#include "core/broker/publisher_acks.hpp"
#include "core/broker/rights.hpp"
#include "core/broker/router.hpp"
#include "core/broker/session.hpp"

namespace millrace::broker {

class Revoker {
 public:
  struct Parts {
    Batch& batch;
    Router& router;
    Backlog& backlog;
    PublisherAcks& publisher_acks;
    Deliverer& deliverer;
    FanOut& fan_out;
  };
  explicit Revoker(const Parts& parts)
      : batch_(parts.batch),
        router_(parts.router),
        backlog_(parts.backlog),
        publisher_acks_(parts.publisher_acks),
        deliverer_(parts.deliverer),
        fan_out_(parts.fan_out) {}

  // `rights` are those of the session from now on.
  std::uint64_t apply(Session& session, RightsRef rights);
  // The session is about to get a connection: what was sent on the one before, and is not
  // acknowledged, would be sent once more.
  void before_resume(Session& session);
  // No session is to be compared with others soon.
  void forget_compared() { subscribe_compared_ = receive_compared_ = {}; }

 private:
  class WhatWaits;
  using RulesRef = std::shared_ptr<const TopicRules>;

  // Two lists that were compared, and what came of it.
  struct Compared {
    RulesRef before;
    RulesRef after;
    bool same = true;
  };

  std::uint64_t bring_under(Session& session, RightsRef rights);
  // What concerns reading.
  bool same_rights(const RightsRef& before, const RightsRef& after, std::uint64_t& units);
  static bool same_rules(const RulesRef& before, const RulesRef& after, Compared& last,
                         std::uint64_t& units);
  std::vector<Subscription*> judge_subscriptions(Session& session);
  void end_subscriptions(Session& session, const std::vector<Subscription*>& refused);
  void drop_inflight(Session& session, WhatWaits& judge);

  Batch& batch_;
  Router& router_;
  Backlog& backlog_;
  PublisherAcks& publisher_acks_;
  Deliverer& deliverer_;
  FanOut& fan_out_;

  // Of the last session: many owners have the same.
  Compared subscribe_compared_;
  Compared receive_compared_;
};

}  // namespace millrace::broker
