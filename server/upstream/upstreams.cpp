#include "server/upstream/upstreams.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "core/broker/inbox.hpp"

namespace millrace::server {

namespace {

// FNV-1a, folded. The same in each process: what the store keeps has it.
std::uint16_t checksum_of(std::string_view name) {
  std::uint32_t hash = 2166136261u;
  for (const char c : name) hash = (hash ^ static_cast<std::uint8_t>(c)) * 16777619u;
  return static_cast<std::uint16_t>(hash ^ hash >> 16);
}

double count(const base::Counter& counter) {
  return static_cast<double>(counter.value());
}

double age_seconds(const broker::SpoolFigures& figures) {
  const auto since_ns = static_cast<std::int64_t>(figures.since_ns.value());
  if (since_ns == 0) return 0;
  return 1e-9 * static_cast<double>(std::max<std::int64_t>(0, broker::Inbox::now_ns() - since_ns));
}

// Of the reasons there are, those that concern what waits.
constexpr std::array spool_drops = {broker::Drop::queue_oldest, broker::Drop::queue_newest,
                                    broker::Drop::disconnected, broker::Drop::memory};

}  // namespace

void Upstreams::apply(const Settings& settings) {
  std::lock_guard lock(mutex_);
  std::map<std::string, std::shared_ptr<Upstream>> before = std::exchange(by_name_, {});
  const auto& configured = settings.config.upstreams;
  for (std::size_t i = 0; i < configured.size(); ++i) {
    const std::string& name = configured[i].name;
    auto plan = make_upstream_plan(configured[i], settings.upstreams.at(i), origin_of(name));
    auto known = before.extract(name);
    if (!known) known = removed_.extract(name);
    if (known) {
      known.mapped()->change(std::move(plan));
      by_name_.insert(std::move(known));
      continue;
    }
    IoThread& thread = *threads_[next_thread_++ % threads_.size()];
    auto upstream = std::make_shared<Upstream>(thread, std::move(plan));
    upstream->start();
    by_name_.emplace(name, std::move(upstream));
  }
  for (auto& [name, gone] : before) gone->remove();
  removed_.merge(before);
}

std::uint16_t Upstreams::origin_of(const std::string& name) {
  const auto known = origins_.find(name);
  if (known != origins_.end()) return known->second;
  std::uint16_t origin = checksum_of(name);
  const auto is_taken = [&] {
    return std::ranges::any_of(origins_, [&](const auto& other) { return other.second == origin; });
  };
  // Names are few; only as many as there are numbers would find none that is free.
  for (int i = 0; i < UINT16_MAX && (origin == 0 || is_taken()); ++i) ++origin;
  return origins_.emplace(name, origin == 0 ? 1 : origin).first->second;
}

std::string Upstreams::missing() const {
  std::lock_guard lock(mutex_);
  for (const auto& [name, upstream] : by_name_) {
    if (upstream->is_required() && upstream->stats().up.value() == 0) {
      return "the upstream " + name + " is down";
    }
  }
  return "";
}

void Upstreams::for_each(
    const std::function<void(const std::string& name, const UpstreamStats&)>& visit) const {
  std::lock_guard lock(mutex_);
  for (const auto& [name, upstream] : by_name_) visit(name, upstream->stats());
}

std::vector<MetricRow> Upstreams::metric_rows() const {
  const auto one = [this](MetricType type, std::string name, std::string help,
                          base::Counter UpstreamStats::*field, double unit = 1) {
    return MetricRow{std::move(name),
                     type,
                     {"upstream"},
                     std::move(help),
                     [this, field, unit](MetricWriter& writer) {
                       for_each([&](const std::string& upstream, const UpstreamStats& stats) {
                         const auto value = static_cast<double>((stats.*field).value());
                         writer.sample(value * unit, {upstream});
                       });
                     }};
  };
  const auto both = [this](std::string name, std::string help, base::Counter UpstreamStats::*in,
                           base::Counter UpstreamStats::*out) {
    return MetricRow{
        std::move(name),
        MetricType::counter,
        {"upstream", "direction"},
        std::move(help),
        [this, in, out](MetricWriter& writer) {
          for_each([&](const std::string& upstream, const UpstreamStats& stats) {
            writer.sample(static_cast<double>((stats.*in).value()), {upstream, "in"});
            writer.sample(static_cast<double>((stats.*out).value()), {upstream, "out"});
          });
        }};
  };
  const auto spool = [this](MetricType type, std::string name, std::string help,
                            double (*value)(const broker::SpoolFigures&)) {
    return MetricRow{
        std::move(name), type, {"upstream"}, std::move(help), [this, value](MetricWriter& writer) {
          for_each([&](const std::string& upstream, const UpstreamStats& stats) {
            writer.sample(value(*stats.spool), {upstream});
          });
        }};
  };
  using Stats = UpstreamStats;
  return {
      one(MetricType::gauge, "millrace_upstream_up", "1 while the link to the upstream is up.",
          &Stats::up),
      one(MetricType::counter, "millrace_upstream_connects_total",
          "How often the link to the upstream came up.", &Stats::connects),
      one(MetricType::counter, "millrace_upstream_connect_failures_total",
          "Attempts to reach the upstream that failed.", &Stats::failures),
      both("millrace_upstream_messages_total",
           "Messages that came from the upstream, and that were handed over for it.",
           &Stats::messages_in, &Stats::messages_out),
      both("millrace_upstream_message_bytes_total", "The payload bytes of these messages.",
           &Stats::bytes_in, &Stats::bytes_out),
      MetricRow{"millrace_upstream_refused_total",
                MetricType::counter,
                {"upstream", "reason"},
                "Messages that did not cross the link: they had crossed too many, no rule lets "
                "them in, or they have no topic on the other side; to NATS also: their subject "
                "would be reserved or too long, they are too large, their headers are no "
                "properties, they came too fast, or JetStream refused them.",
                [this](MetricWriter& writer) {
                  for_each([&](const std::string& upstream, const UpstreamStats& stats) {
                    for (std::size_t i = 0; i < stats.refused.size(); ++i) {
                      writer.sample(static_cast<double>(stats.refused[i].value()),
                                    {upstream, link_refusal_words[i]});
                    }
                  });
                }},
      one(MetricType::gauge, "millrace_upstream_round_trip_seconds",
          "The time from the last PINGREQ to its answer.", &Stats::round_trip_ns, 1e-9),
      spool(MetricType::gauge, "millrace_upstream_spool_messages",
            "Messages that wait for the link.",
            [](const broker::SpoolFigures& figures) { return count(figures.messages); }),
      spool(MetricType::gauge, "millrace_upstream_spool_bytes", "Their bytes.",
            [](const broker::SpoolFigures& figures) { return count(figures.bytes); }),
      spool(MetricType::gauge, "millrace_upstream_spool_age_seconds",
            "For how long the one that has waited longest waits; 0: nothing waits.",
            [](const broker::SpoolFigures& figures) { return age_seconds(figures); }),
      spool(MetricType::counter, "millrace_upstream_conflated_total",
            "Values that a newer one of their topic replaced before they went out.",
            [](const broker::SpoolFigures& figures) { return count(figures.conflated); }),
      MetricRow{
          "millrace_upstream_dropped_total",
          MetricType::counter,
          {"upstream", "reason"},
          "Messages that waited for the link and were dropped, by reason.",
          [this](MetricWriter& writer) {
            for_each([&](const std::string& upstream, const UpstreamStats& stats) {
              for (const broker::Drop reason : spool_drops) {
                const auto i = static_cast<std::size_t>(reason);
                writer.sample(count(stats.spool->dropped[i]), {upstream, broker::drop_names[i]});
              }
            });
          }},
  };
}

}  // namespace millrace::server
