// The metrics of the store.
#include <string>
#include <utility>

#include "server/app/store_host.hpp"

namespace millrace::server {

namespace {

template <class Get>
MetricRow row(const StoreHost* host, MetricType type, std::string name, std::string help, Get get) {
  return {std::move(name), type, {}, std::move(help), [host, get](MetricWriter& writer) {
            if (host != nullptr) writer.sample(static_cast<double>(get(*host)));
          }};
}

template <class Get>
MetricRow histogram(const StoreHost* host, std::string name, std::string help, double unit,
                    Get get) {
  return {std::move(name),
          MetricType::histogram,
          {},
          std::move(help),
          [host, unit, get](MetricWriter& writer) {
            if (host != nullptr) writer.histogram(get(host->engine().figures()), unit);
          }};
}

}  // namespace

std::vector<MetricRow> store_metric_rows(const StoreHost* host,
                                         const broker::ProcessorStats& stats) {
  constexpr auto counter = MetricType::counter;
  constexpr auto gauge = MetricType::gauge;
  using Host = const StoreHost&;
  return {
      row(host, counter, "millrace_store_records_total", "Records given to the store.",
          [](Host one) { return one.engine().figures().records.value(); }),
      row(host, counter, "millrace_store_written_bytes_total",
          "Bytes written to the store's log and flushed.",
          [](Host one) { return one.engine().figures().written_bytes.value(); }),
      row(host, counter, "millrace_store_flushes_total", "Flushes of the store's log.",
          [](Host one) { return one.engine().figures().flushes.value(); }),
      histogram(
          host, "millrace_store_flush_seconds", "Time that a write and its flush took.", 1e-6,
          [](const store::StoreFigures& figures) -> const auto& { return figures.flush_us; }),
      histogram(
          host, "millrace_store_flush_batches", "Batches that one flush made durable.", 1,
          [](const store::StoreFigures& figures) -> const auto& { return figures.flush_batches; }),
      row(host, counter, "millrace_store_write_errors_total", "Writes to the store that failed.",
          [](Host one) { return one.engine().figures().write_errors.value(); }),
      row(host, gauge, "millrace_store_good",
          "1 while the store works; 0 while nothing can be acknowledged.",
          [](Host one) { return one.fault().empty() ? 1 : 0; }),
      row(host, gauge, "millrace_store_waiting_bytes", "Bytes that wait for the disk.",
          [](Host one) { return one.engine().figures().waiting_bytes.value(); }),
      row(host, gauge, "millrace_store_waiting_answers",
          "Acknowledgements and QoS 2 messages that wait until they are on the disk.",
          [&stats](Host) { return stats.commit_waits.value(); }),
      row(host, counter, "millrace_store_refused_publishes_total",
          "Publishes at QoS 1 and 2, and retained ones over HTTP, that were refused as the store "
          "could not write.",
          [&stats](Host) { return stats.unwritten_refusals.value(); }),
      row(host, counter, "millrace_store_ended_connections_total",
          "Connections that ended as answers took more than store.waiting_bytes_max: those that "
          "were owed most of them.",
          [&stats](Host) { return stats.unanswered_ends.value(); }),
      row(host, gauge, "millrace_store_snapshot_bytes",
          "Size of the newest snapshot: what was alive when it was written.",
          [](Host one) { return one.engine().log().snapshot_bytes(); }),
      row(host, gauge, "millrace_store_log_bytes", "Size of the log since that snapshot.",
          [](Host one) { return one.engine().log().log_bytes(); }),
      row(host, counter, "millrace_store_compactions_total", "Snapshots that were written.",
          [](Host one) { return one.engine().log().compactions(); }),
      row(host, gauge, "millrace_store_recovery_seconds",
          "Time that reading the store took at the start.",
          [](Host one) { return one.recovery_seconds(); }),
      row(host, gauge, "millrace_store_damaged_places",
          "Damaged places of the store that were found at the start and set aside.",
          [](Host one) { return one.recovery().damaged_places; }),
      row(host, gauge, "millrace_store_damaged_bytes",
          "Bytes of these places, which are kept in files of their own.",
          [](Host one) { return one.recovery().damaged_bytes; }),
      row(host, gauge, "millrace_store_unknown_records",
          "Records that were passed over at the start: what they name was damaged, or is not "
          "known.",
          [](Host one) { return one.restored().orphans; }),
      row(host, gauge, "millrace_store_missing_batches",
          "Batches that were acknowledged and that damage of the disk has taken, at the start.",
          [](Host one) { return one.recovery().missing_batches; }),
  };
}

}  // namespace millrace::server
