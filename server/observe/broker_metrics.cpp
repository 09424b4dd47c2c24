#include "server/observe/broker_metrics.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <utility>

namespace millrace::server {

namespace {

using broker::Inbox;
using broker::ProcessorStats;

MetricRow of_counter(const ProcessorStats& stats, MetricType type, std::string name,
                     std::string help, broker::Counter ProcessorStats::*field) {
  return {std::move(name), type, {}, std::move(help), [&stats, field](MetricWriter& writer) {
            writer.sample(static_cast<double>((stats.*field).value()));
          }};
}

MetricRow by_qos(const ProcessorStats& stats, std::string name, std::string help,
                 std::array<broker::Counter, 3> ProcessorStats::*field) {
  return {std::move(name),
          MetricType::counter,
          {"qos"},
          std::move(help),
          [&stats, field](MetricWriter& writer) {
            constexpr std::array<std::string_view, 3> words = {"0", "1", "2"};
            for (std::size_t qos = 0; qos < words.size(); ++qos) {
              writer.sample(static_cast<double>((stats.*field)[qos].value()), {words[qos]});
            }
          }};
}

template <std::size_t count>
MetricRow of_histogram(std::string name, std::string help,
                       const broker::PowerHistogram<count>& histogram, double unit) {
  return {std::move(name),
          MetricType::histogram,
          {},
          std::move(help),
          [&histogram, unit](MetricWriter& writer) { writer.histogram(histogram, unit); }};
}

template <class Get>
MetricRow computed(MetricType type, std::string name, std::string help, Get get) {
  return {std::move(name), type, {}, std::move(help), [get](MetricWriter& writer) {
            writer.sample(static_cast<double>(get()));
          }};
}

std::vector<MetricRow> message_rows(const ProcessorStats& stats) {
  constexpr auto counter = MetricType::counter;
  return {
      by_qos(stats, "millrace_messages_published_total", "PUBLISH packets that were routed.",
             &ProcessorStats::published),
      by_qos(stats, "millrace_messages_delivered_total",
             "Messages handed over to a subscriber's connection.", &ProcessorStats::delivered),
      of_counter(stats, counter, "millrace_messages_unmatched_total",
                 "Messages that no subscription matched.", &ProcessorStats::unmatched),
      of_counter(stats, counter, "millrace_messages_conflated_total",
                 "Values that were replaced by a newer one before they were sent.",
                 &ProcessorStats::conflated),
      of_counter(stats, counter, "millrace_messages_unchanged_total",
                 "Values that a change filter kept back, as their subscriber was sent the same "
                 "before.",
                 &ProcessorStats::unchanged),
      {"millrace_messages_dropped_total",
       counter,
       {"reason"},
       "Messages that were dropped, by reason.",
       [&stats](MetricWriter& writer) {
         for (std::size_t i = 0; i < stats.dropped.size(); ++i) {
           writer.sample(static_cast<double>(stats.dropped[i].value()), {broker::drop_names[i]});
         }
       }},
      of_counter(stats, counter, "millrace_wills_total", "Wills that were published.",
                 &ProcessorStats::wills),
  };
}

std::vector<MetricRow> session_rows(const ProcessorStats& stats) {
  constexpr auto gauge = MetricType::gauge;
  constexpr auto counter = MetricType::counter;
  return {
      of_counter(stats, gauge, "millrace_sessions", "Sessions, connected or not.",
                 &ProcessorStats::sessions),
      of_counter(stats, gauge, "millrace_sessions_connected", "Sessions with a connection.",
                 &ProcessorStats::sessions_connected),
      of_counter(stats, gauge, "millrace_subscriptions", "Subscriptions of all sessions.",
                 &ProcessorStats::subscriptions),
      of_counter(stats, gauge, "millrace_shared_groups", "Groups of shared subscriptions.",
                 &ProcessorStats::shared_groups),
      of_counter(stats, gauge, "millrace_slots", "Topics whose newest value is held.",
                 &ProcessorStats::topics),
      of_counter(stats, gauge, "millrace_slot_bytes", "Bytes of the newest values that are held.",
                 &ProcessorStats::topic_bytes),
      of_counter(stats, gauge, "millrace_retained_messages", "Retained messages.",
                 &ProcessorStats::retained),
      of_counter(stats, gauge, "millrace_history_values",
                 "Last values of topics that are kept for subscriptions to begin with.",
                 &ProcessorStats::history_values),
      of_counter(stats, gauge, "millrace_history_bytes", "Bytes that they take.",
                 &ProcessorStats::history_bytes),
      of_counter(stats, counter, "millrace_history_evicted_total",
                 "Such values that went to make room, by `history.bytes_max` or because memory is "
                 "scarce.",
                 &ProcessorStats::history_evicted),
      of_counter(stats, counter, "millrace_history_sent_total",
                 "Such values that subscriptions began with.", &ProcessorStats::history_sent),
      of_counter(stats, gauge, "millrace_inflight_messages",
                 "Messages of QoS 1 and 2 that were sent and are not yet acknowledged.",
                 &ProcessorStats::inflight),
      of_counter(stats, gauge, "millrace_pending_messages",
                 "Messages that wait because their subscriber has not yet read what it was sent.",
                 &ProcessorStats::pending),
      of_counter(stats, gauge, "millrace_pending_bytes",
                 "Bytes of the messages that wait for subscribers.",
                 &ProcessorStats::pending_bytes),
      of_counter(stats, gauge, "millrace_slow_sessions",
                 "Sessions that are slow now: they are being conflated, or have no credit while "
                 "values that may be replaced have waited for adaptive.stale_after_ms.",
                 &ProcessorStats::slow_sessions),
      of_counter(stats, counter, "millrace_takeovers_total",
                 "Connections that ended because their client identifier connected again.",
                 &ProcessorStats::takeovers),
      of_counter(stats, counter, "millrace_sessions_expired_total", "Sessions that expired.",
                 &ProcessorStats::sessions_expired),
      of_counter(stats, counter, "millrace_sessions_revoked_total",
                 "Sessions that ended because a reload removed their user.",
                 &ProcessorStats::sessions_revoked),
      of_counter(stats, counter, "millrace_sessions_foreign_total",
                 "CONNECTs that were refused because they named another user's session.",
                 &ProcessorStats::sessions_foreign),
      {"millrace_subscriptions_refused_total",
       counter,
       {"limit"},
       "Subscriptions that were refused because of session.subscriptions_max or what one session "
       "may hold (`client`), or session.all_subscriptions_max (`all`).",
       [&stats](MetricWriter& writer) {
         writer.sample(static_cast<double>(stats.subscriptions_refused.value()), {"client"});
         writer.sample(static_cast<double>(stats.all_subscriptions_refused.value()), {"all"});
       }},
      of_counter(stats, counter, "millrace_subscriptions_revoked_total",
                 "Subscriptions that ended because a reload no longer allows them.",
                 &ProcessorStats::subscriptions_revoked),
  };
}

std::vector<MetricRow> processor_rows(const ProcessorStats& stats) {
  constexpr auto counter = MetricType::counter;
  return {
      of_counter(stats, counter, "millrace_batches_total", "Batches of the processor.",
                 &ProcessorStats::batches),
      of_counter(stats, counter, "millrace_batches_borrowed_total",
                 "Batches that an I/O thread applied because the processor's thread slept.",
                 &ProcessorStats::borrowed_batches),
      of_counter(stats, counter, "millrace_routes_computed_total",
                 "Searches for the subscribers of a topic whose match was not cached.",
                 &ProcessorStats::routes_computed),
      of_counter(stats, counter, "millrace_stale_commands_total",
                 "Commands discarded because their connection had already ended.",
                 &ProcessorStats::stale_commands),
      of_histogram("millrace_batch_commands", "Commands in a batch of the processor.",
                   stats.batch_commands, 1),
      of_histogram("millrace_batch_seconds", "Time that the processor took for a batch.",
                   stats.batch_ns, 1e-9),
  };
}

std::vector<MetricRow> queue_rows(const Inbox& inbox) {
  constexpr auto gauge = MetricType::gauge;
  constexpr auto counter = MetricType::counter;
  return {
      computed(gauge, "millrace_queue_depth", "Commands that wait in the queue.",
               [&inbox] { return inbox.queue().len(); }),
      computed(gauge, "millrace_queue_capacity", "Commands that the queue has room for now.",
               [&inbox] { return inbox.queue().capacity(); }),
      computed(gauge, "millrace_queue_bytes", "Bytes of the messages in the queue.",
               [&inbox] { return inbox.queued_bytes(); }),
      computed(gauge, "millrace_queue_memory_bytes", "Memory of the queue itself.",
               [&inbox] { return inbox.queue().stats().memory_bytes; }),
      computed(counter, "millrace_queue_resizes_total", "Times that the queue grew or shrank.",
               [&inbox] { return inbox.queue().stats().resizes; }),
      computed(counter, "millrace_queue_full_total",
               "Submissions of which the queue did not take everything because it was full.",
               [&inbox] { return inbox.queue().stats().full; }),
  };
}

}  // namespace

std::vector<MetricRow> memory_metric_rows(const ProcessorStats& stats,
                                          const broker::Ledger& ledger) {
  constexpr auto gauge = MetricType::gauge;
  constexpr auto counter = MetricType::counter;
  return {
      {"millrace_memory_bytes",
       gauge,
       {"kind"},
       "Memory that is held for clients, by kind. `messages` are the bytes of all messages, each "
       "counted once; `other` is what the process has beyond all kinds.",
       [&ledger](MetricWriter& writer) {
         for (std::size_t i = 0; i < broker::holding_count; ++i) {
           writer.sample(static_cast<double>(ledger.bytes(static_cast<broker::Holding>(i))),
                         {broker::holding_names[i]});
         }
       }},
      computed(gauge, "millrace_memory_limit_bytes", "The limit of that memory (memory.bytes_max).",
               [&ledger] { return ledger.bytes_max(); }),
      computed(gauge, "millrace_memory_level",
               "How much of it is left: 0 plenty, 1 scarce (from 80 % on), 2 none.",
               [&ledger] { return static_cast<unsigned>(ledger.level()); }),
      of_counter(stats, counter, "millrace_memory_refusals_total",
                 "Sessions, subscriptions and retained messages that were refused because memory "
                 "was scarce.",
                 &ProcessorStats::memory_refusals),
      of_counter(stats, counter, "millrace_user_refusals_total",
                 "Sessions and subscriptions that were refused because all sessions of their user "
                 "hold as much as memory.user_bytes_max.",
                 &ProcessorStats::user_refusals),
      of_counter(stats, counter, "millrace_memory_sessions_shed_total",
                 "Sessions that lost a part of what waited in them because memory was scarce.",
                 &ProcessorStats::memory_sessions_shed),
      of_counter(stats, counter, "millrace_memory_sessions_ended_total",
                 "Sessions that ended because they held much while memory was scarce.",
                 &ProcessorStats::memory_sessions_ended),
      of_counter(stats, counter, "millrace_routes_dropped_total",
                 "Cached lists of a topic's subscribers that were dropped to make room.",
                 &ProcessorStats::routes_dropped),
  };
}

std::vector<MetricRow> broker_metric_rows(const ProcessorStats& stats, const Inbox& inbox) {
  std::vector<MetricRow> rows;
  for (auto&& part :
       {message_rows(stats), session_rows(stats), processor_rows(stats), queue_rows(inbox)}) {
    rows.insert(rows.end(), part.begin(), part.end());
  }
  return rows;
}

}  // namespace millrace::server
