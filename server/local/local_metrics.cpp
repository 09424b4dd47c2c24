// The metrics of local readers and publishers, and of rings and tables.
#include <utility>

#include "server/local/local_host.hpp"

namespace millrace::server {
namespace {

MetricRow of_registry(const LocalHost* host, MetricType type, std::string name, std::string help,
                      std::uint64_t ControlFigures::*field) {
  return {std::move(name), type, {}, std::move(help), [host, field](MetricWriter& writer) {
            writer.sample(static_cast<double>(host->control_figures().*field));
          }};
}

template <class Get>
MetricRow of_rings(const LocalHost* host, MetricType type, std::string name, std::string help,
                   Get get) {
  return {std::move(name),
          type,
          {"filter", "policy"},
          std::move(help),
          [host, get](MetricWriter& writer) {
            for (const auto& ring : host->figures().rings) {
              writer.sample(static_cast<double>(get(ring.stats)),
                            {ring.filter, to_string(ring.policy)});
            }
          }};
}

template <class Get>
MetricRow of_tables(const LocalHost* host, MetricType type, std::string name, std::string help,
                    Get get) {
  return {std::move(name), type, {"filter"}, std::move(help), [host, get](MetricWriter& writer) {
            for (const auto& table : host->figures().tables) {
              writer.sample(static_cast<double>(get(table)), {table.filter});
            }
          }};
}

MetricRow evictions(const LocalHost* host) {
  return {"millrace_local_evictions_total",
          MetricType::counter,
          {"reason"},
          "Readers evicted from rings, also from rings that no longer exist.",
          [host](MetricWriter& writer) {
            const auto evictions = host->figures().evictions;
            for (const auto reason : {shm::Eviction::lease_ended, shm::Eviction::overflow_full,
                                      shm::Eviction::bad_position, shm::Eviction::ring_closed}) {
              writer.sample(static_cast<double>(evictions[static_cast<std::size_t>(reason)]),
                            {shm::name_of(reason)});
            }
          }};
}

}  // namespace

std::vector<MetricRow> local_metric_rows(const LocalHost* host) {
  using shm::RingStats;
  constexpr auto counter = MetricType::counter;
  constexpr auto gauge = MetricType::gauge;
  return {
      of_registry(host, gauge, "millrace_local_clients",
                  "Processes connected to the control socket.", &ControlFigures::clients),
      of_registry(host, gauge, "millrace_local_publishers",
                  "Processes that publish through shared memory.",
                  &ControlFigures::publisher_rings),
      of_registry(host, counter, "millrace_local_published_total",
                  "Messages taken from local publishers.", &ControlFigures::published),
      of_registry(host, counter, "millrace_local_publishes_refused_total",
                  "Messages of local publishers that were refused: malformed or not allowed.",
                  &ControlFigures::publishes_refused),
      of_registry(host, counter, "millrace_local_refused_total",
                  "Requests at the control socket that were refused.", &ControlFigures::refused),
      of_rings(host, counter, "millrace_ring_messages_total", "Messages written to a ring.",
               [](const RingStats& ring) { return ring.sequence; }),
      of_rings(host, counter, "millrace_ring_written_bytes_total", "Bytes written to a ring.",
               [](const RingStats& ring) { return ring.position; }),
      of_rings(host, counter, "millrace_ring_oversize_total",
               "Messages too large for a ring, replaced by a marker.",
               [](const RingStats& ring) { return ring.oversize; }),
      of_rings(host, counter, "millrace_ring_lapped_total",
               "Messages overwritten before a reader had read them, as reported by the readers.",
               [](const RingStats& ring) { return ring.lapped; }),
      of_rings(host, counter, "millrace_ring_evictions_total", "Readers evicted from a ring.",
               [](const RingStats& ring) { return ring.evictions; }),
      of_rings(host, counter, "millrace_ring_wakes_total",
               "System calls made to wake a ring's sleeping readers.",
               [](const RingStats& ring) { return ring.wakes; }),
      of_rings(host, gauge, "millrace_ring_readers", "Readers of a ring.",
               [](const RingStats& ring) { return ring.readers; }),
      of_rings(host, gauge, "millrace_ring_lag_bytes",
               "Bytes by which the slowest reader of a ring is behind.",
               [](const RingStats& ring) { return ring.lag_max_bytes; }),
      of_rings(host, gauge, "millrace_ring_overflow_bytes",
               "Bytes that wait outside a lossless ring for its slowest reader.",
               [](const RingStats& ring) { return ring.overflow_bytes; }),
      of_rings(host, gauge, "millrace_ring_bytes", "Size of a ring.",
               [](const RingStats& ring) { return ring.data_bytes; }),
      evictions(host),
      {"millrace_local_lapped_total",
       counter,
       {},
       "Messages overwritten unread, also in rings that no longer exist.",
       [host](MetricWriter& writer) {
         writer.sample(static_cast<double>(host->figures().lapped));
       }},
      of_tables(host, gauge, "millrace_table_users", "Processes that use a table of newest values.",
                [](const auto& table) { return table.users; }),
      of_tables(host, counter, "millrace_table_displaced_total",
                "Newest values removed from a full table to make room for those of other topics.",
                [](const auto& table) { return table.displaced; }),
  };
}

}  // namespace millrace::server
