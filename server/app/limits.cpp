#include "server/app/limits.hpp"

namespace millrace::server {

broker::ProcessorLimits processor_limits(const Config& config) {
  broker::ProcessorLimits limits;
  limits.credit_bytes = static_cast<std::uint32_t>(config.outbox.credit_bytes);
  limits.credit_max_bytes = static_cast<std::uint32_t>(config.outbox.credit_max_bytes);
  limits.credit_latest_bytes = static_cast<std::uint32_t>(config.outbox.latest_credit_bytes);
  limits.adaptive_backlog_bytes = config.adaptive.backlog_bytes;
  limits.adaptive_stale_after_ms = config.adaptive.stale_after_ms;
  limits.queue_messages = config.session.queue_messages;
  limits.queue_bytes = config.session.queue_bytes;
  limits.overflow = config.session.overflow;
  const bool enforced = config.receive_maximum_policy == LimitPolicy::enforce;
  limits.receive_maximum = enforced ? config.receive_maximum : 65535;
  limits.subscriptions_max = config.session.subscriptions_max;
  limits.all_subscriptions_max = config.session.all_subscriptions_max;
  limits.sessions_max = config.session.count_max;
  limits.identifiers_in_one_copy = config.mqtt.identifiers_in_one_copy;
  limits.memory_bytes = config.memory_bytes_max();
  limits.session_bytes = config.session.bytes_max;
  limits.user_bytes = config.memory.user_bytes_max;
  limits.routes_bytes = config.memory.routes_bytes_max;
  limits.slots.count_max = config.slots.count_max;
  limits.slots.bytes_max = config.slots.bytes_max;
  limits.slots.user_bytes_max = config.slots.user_bytes_max > 0 ? config.slots.user_bytes_max
                                                                : config.slots.bytes_max / 4 * 3;
  limits.slots.user_count_max = config.slots.user_count_max > 0
                                    ? config.slots.user_count_max
                                    : config.slots.count_max - config.slots.count_max / 4;
  limits.history.depth = config.history.depth;
  limits.history.bytes_max = config.history.bytes_max;
  return limits;
}

broker::InboxLimits inbox_limits(const Config& config) {
  broker::InboxLimits limits;
  limits.queue.min_capacity = config.queue.min_capacity;
  limits.queue.initial_capacity = config.queue.initial_capacity;
  limits.queue.max_capacity = config.queue.max_capacity;
  limits.queue.growth_factor = config.queue.growth_factor;
  limits.queue.shrink_threshold = config.queue.shrink_threshold;
  limits.bytes_max = config.queue.bytes_max;
  limits.control_reserve = config.queue.control_reserve;
  limits.batch_max = config.processor.batch_max;
  limits.borrow_role = config.processor.borrow_role;
  switch (config.processor.wait) {
    case WaitStrategy::spin:
      limits.wait = broker::WaitStrategy::spin;
      break;
    case WaitStrategy::yield:
      limits.wait = broker::WaitStrategy::yield;
      break;
    case WaitStrategy::block:
      limits.wait = broker::WaitStrategy::block;
      break;
  }
  return limits;
}

}  // namespace millrace::server
