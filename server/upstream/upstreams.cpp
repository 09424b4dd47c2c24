#include "server/upstream/upstreams.hpp"

#include <utility>

namespace millrace::server {

void Upstreams::apply(const Settings& settings) {
  std::lock_guard lock(mutex_);
  std::map<std::string, std::shared_ptr<Upstream>> before = std::exchange(by_name_, {});
  const auto& configured = settings.config.upstreams;
  for (std::size_t i = 0; i < configured.size(); ++i) {
    const std::string& name = configured[i].name;
    auto plan = make_upstream_plan(configured[i], settings.upstreams.at(i), origin_of(name));
    if (auto known = before.extract(name)) {
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
}

std::uint16_t Upstreams::origin_of(const std::string& name) {
  const auto next = static_cast<std::uint16_t>(origins_.size() + 1);
  return origins_.try_emplace(name, next).first->second;
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
                "them in, or they have no topic on the other side.",
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
  };
}

}  // namespace millrace::server
