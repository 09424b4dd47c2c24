// What the metrics tell of local readers and publishers, and of the rings and tables between them.
#include <utility>

#include "server/door.hpp"

namespace millrace::server {
namespace {

MetricRow of_door(const Door* door, MetricType type, std::string name, std::string help,
                  std::uint64_t shm::DoorFigures::*field) {
  return {std::move(name), type, {}, std::move(help), [door, field](MetricWriter& writer) {
            writer.sample(static_cast<double>(door->door_figures().*field));
          }};
}

template <class Get>
MetricRow of_rings(const Door* door, MetricType type, std::string name, std::string help, Get get) {
  return {std::move(name),
          type,
          {"filter", "policy"},
          std::move(help),
          [door, get](MetricWriter& writer) {
            for (const auto& ring : door->figures().rings) {
              writer.sample(static_cast<double>(get(ring.stats)),
                            {ring.filter, to_string(ring.policy)});
            }
          }};
}

template <class Get>
MetricRow of_tables(const Door* door, MetricType type, std::string name, std::string help,
                    Get get) {
  return {std::move(name), type, {"filter"}, std::move(help), [door, get](MetricWriter& writer) {
            for (const auto& table : door->figures().tables) {
              writer.sample(static_cast<double>(get(table)), {table.filter});
            }
          }};
}

MetricRow evictions(const Door* door) {
  return {"millrace_local_evictions_total",
          MetricType::counter,
          {"reason"},
          "Readers evicted from rings, also from rings that are gone.",
          [door](MetricWriter& writer) {
            const auto evictions = door->figures().evictions;
            for (const auto reason : {shm::Eviction::lease_ended, shm::Eviction::overflow_full,
                                      shm::Eviction::bad_position, shm::Eviction::ring_closed}) {
              writer.sample(static_cast<double>(evictions[static_cast<std::size_t>(reason)]),
                            {shm::name_of(reason)});
            }
          }};
}

}  // namespace

std::vector<MetricRow> door_metric_rows(const Door* door) {
  using shm::DoorFigures;
  using shm::RingStats;
  constexpr auto counter = MetricType::counter;
  constexpr auto gauge = MetricType::gauge;
  return {
      of_door(door, gauge, "millrace_local_clients", "Processes connected to the door.",
              &DoorFigures::clients),
      of_door(door, gauge, "millrace_local_publishers", "Local publishers with a lane.",
              &DoorFigures::lanes),
      of_door(door, counter, "millrace_local_published_total",
              "Messages taken out of local publishers' lanes.", &DoorFigures::published),
      of_door(door, counter, "millrace_local_publishes_refused_total",
              "Of them, messages that were malformed or not allowed.",
              &DoorFigures::publishes_refused),
      of_door(door, counter, "millrace_local_refused_total",
              "Requests at the door that were refused.", &DoorFigures::refused),
      of_rings(door, counter, "millrace_ring_messages_total", "Messages written to a ring.",
               [](const RingStats& ring) { return ring.sequence; }),
      of_rings(door, counter, "millrace_ring_written_bytes_total", "Bytes written to a ring.",
               [](const RingStats& ring) { return ring.position; }),
      of_rings(door, counter, "millrace_ring_oversize_total",
               "Messages too large for a ring, replaced by a marker.",
               [](const RingStats& ring) { return ring.oversize; }),
      of_rings(door, counter, "millrace_ring_lapped_total",
               "Messages overwritten before a reader had read them, as its readers count.",
               [](const RingStats& ring) { return ring.lapped; }),
      of_rings(door, counter, "millrace_ring_evictions_total", "Readers evicted from a ring.",
               [](const RingStats& ring) { return ring.evictions; }),
      of_rings(door, counter, "millrace_ring_wakes_total",
               "System calls made to wake a ring's sleeping readers.",
               [](const RingStats& ring) { return ring.wakes; }),
      of_rings(door, gauge, "millrace_ring_readers", "Readers of a ring.",
               [](const RingStats& ring) { return ring.readers; }),
      of_rings(door, gauge, "millrace_ring_lag_bytes", "How far its slowest reader is behind.",
               [](const RingStats& ring) { return ring.lag_max_bytes; }),
      of_rings(door, gauge, "millrace_ring_overflow_bytes",
               "What waits outside a lossless ring for its slowest reader.",
               [](const RingStats& ring) { return ring.overflow_bytes; }),
      of_rings(door, gauge, "millrace_ring_bytes", "Size of a ring.",
               [](const RingStats& ring) { return ring.data_bytes; }),
      evictions(door),
      {"millrace_local_lapped_total",
       counter,
       {},
       "Messages overwritten unread, also in rings that are gone.",
       [door](MetricWriter& writer) {
         writer.sample(static_cast<double>(door->figures().lapped));
       }},
      of_tables(door, gauge, "millrace_table_users", "Processes that look into a table.",
                [](const auto& table) { return table.users; }),
      of_tables(door, counter, "millrace_table_displaced_total",
                "Newest values that made room for another topic's, by the table's size.",
                [](const auto& table) { return table.displaced; }),
  };
}

}  // namespace millrace::server
