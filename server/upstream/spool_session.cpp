#include "server/upstream/spool_session.hpp"

#include <algorithm>

#include "server/mqtt/delivery_mode.hpp"

namespace millrace::server {

namespace {

constexpr std::uint32_t never_expires = 0xFFFFFFFF;

broker::SubscriptionRequest subscription_of(const TopicMap::Rule& rule, const LinkTerms& terms,
                                            SubscribesAs as) {
  broker::SubscriptionRequest wanted;
  wanted.name = wanted.filter = rule.local_filter;
  wanted.mode = rule.config.mode_out();
  wanted.qos = static_cast<std::uint8_t>(std::min(rule.config.qos_max, terms.qos_max));
  // Values that may be replaced cannot be delivered exactly once.
  if (wanted.mode == broker::Mode::latest && wanted.qos == 2) wanted.qos = 1;
  wanted.no_local = true;
  wanted.confirms = rule.config.ack == AckBy::upstream;
  const bool retained = rule.config.retained && terms.takes_retained;
  wanted.retain_as_published = retained;
  // Each time the link comes up: what was retained, and with `latest` the newest value of each
  // topic, so that the far side has them whatever it, or the link, has lost meanwhile.
  constexpr std::uint8_t send = 0, do_not_send = 2;
  const bool sends = retained || wanted.mode == broker::Mode::latest;
  wanted.retain_handling = sends && as == SubscribesAs::link ? send : do_not_send;
  if (rule.config.max_rate_hz && wanted.mode != broker::Mode::every) {
    wanted.shape = broker::rate_limit(interval_ms_of(*rule.config.max_rate_hz));
  }
  return wanted;
}

}  // namespace

std::unique_ptr<broker::ConnectRequest> spool_session_request(const UpstreamPlan& plan,
                                                              const UpstreamStats& stats) {
  auto request = std::make_unique<broker::ConnectRequest>();
  request->client_id = plan.session;
  request->clean_start = false;
  request->session_expiry_s = never_expires;  // it ends when the upstream is removed
  request->origin = plan.origin;
  const SpoolConfig& spool = plan.config.spool;
  request->queue = broker::QueueLimits{spool.messages, spool.bytes, spool.overflow};
  request->figures = stats.spool;
  return request;
}

std::unique_ptr<broker::SubscribeRequest> spool_subscriptions(const UpstreamPlan& plan,
                                                              const LinkTerms& terms,
                                                              SubscribesAs as) {
  auto request = std::make_unique<broker::SubscribeRequest>();
  for (const TopicMap::Rule& rule : plan.map.rules()) {
    if (!rule.config.goes_out()) continue;
    // The newest value of each topic is what a link begins with: none needs to wait before.
    const bool needs_no_spool = rule.config.mode_out() == DeliveryMode::latest;
    if (as == SubscribesAs::spool && needs_no_spool) continue;
    request->filters.push_back(subscription_of(rule, terms, as));
  }
  return request;
}

}  // namespace millrace::server
