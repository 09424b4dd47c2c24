// The session that an upstream has in this server's processor: what opens it, and what it subscribes to
// here. A link is its connection; it outlives every link, and is what waits for the next one.
//
// Threads: any; pure.
#pragma once

#include <memory>

#include "core/broker/command.hpp"
#include "server/upstream/greeting.hpp"
#include "server/upstream/plan.hpp"
#include "server/upstream/stats.hpp"

namespace millrace::server {

// Without what only a link knows.
std::unique_ptr<broker::ConnectRequest> spool_session_request(const UpstreamPlan& plan,
                                                              const UpstreamStats& stats);

// What goes out by the rules, under what the upstream allows. `link`: with the stored values that are
// sent each time a link comes up; `spool`: without.
enum class SubscribesAs : std::uint8_t { link, spool };
std::unique_ptr<broker::SubscribeRequest> spool_subscriptions(const UpstreamPlan& plan,
                                                              const LinkTerms& terms,
                                                              SubscribesAs as);

}  // namespace millrace::server
