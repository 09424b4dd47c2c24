#include "loadtest/meter.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace millrace::loadtest {
namespace {

constexpr double kMegabyte = 1e6;
constexpr double kStarved = 0.1;
constexpr double kFullCore = 0.97;  // not 1: the window's edges and the kernel's ticks are inexact

}  // namespace

Meter::Meter(const Options& options, const EventLoop& loop)
    : options_(options),
      loop_(loop),
      server_(options.pid, options.cgroup),
      shows_progress_(options.progress.value_or(isatty(STDERR_FILENO) == 1)),
      started_ns_(now_ns()) {}

Meter::~Meter() {
  if (line_is_open_) std::fprintf(stderr, "\r\033[K");
}

Meter::Mark Meter::mark(Nanos now, Traffic so_far) {
  server_.sample();
  // Polls that found nothing are no work, so their time is subtracted.
  return {now, so_far, server_.cpu_s(), thread_cpu_s() - to_seconds(loop_.spun_ns()),
          thread_starved_s()};
}

void Meter::begin(Nanos now, Traffic so_far) {
  begin_ = mark(now, so_far);
}
void Meter::end(Nanos now, Traffic so_far) {
  end_ = mark(now, so_far);
}

void Meter::tick(Nanos now, Traffic so_far, const char* what) {
  server_.sample_if_due(now);
  if (!shows_progress_ || now - shown_.at < 500 * kMillisecond) return;
  const Mark before = shown_;
  shown_ = mark(now, so_far);
  const double seconds = before.at == 0 ? 0 : to_seconds(now - before.at);
  const double rate =
      seconds > 0 ? static_cast<double>(so_far.delivered - before.traffic.delivered) / seconds : 0;
  std::fprintf(stderr, "\r\033[K%6.1f s  %-10s %12.0f msg/s  sent %llu  received %llu",
               to_seconds(now - started_ns_), what, rate,
               static_cast<unsigned long long>(so_far.published),
               static_cast<unsigned long long>(so_far.delivered));
  if (server_.is_on() && seconds > 0) {
    std::fprintf(stderr, "  server %3.0f %%  %.1f MB",
                 (shown_.server_cpu_s - before.server_cpu_s) / seconds * 100,
                 static_cast<double>(server_.rss_bytes()) / kMegabyte);
  }
  std::fflush(stderr);
  line_is_open_ = true;
}

double Meter::generator_core() const {
  const double wall_s = seconds();
  return wall_s > 0 ? std::max(0.0, (end_.own_cpu_s - begin_.own_cpu_s) / wall_s) : 0;
}

double Meter::generator_starved() const {
  const double wall_s = seconds();
  return wall_s > 0 ? (end_.own_starved_s - begin_.own_starved_s) / wall_s : 0;
}

void Meter::report_rates(Result& result) const {
  const double wall_s = seconds();
  const std::uint64_t published = end_.traffic.published - begin_.traffic.published;
  result.add("measured_s", wall_s);
  result.add("published", published);
  result.add("delivered", delivered());
  result.add("published_per_s", wall_s > 0 ? static_cast<double>(published) / wall_s : 0.0);
  result.add("delivered_per_s", wall_s > 0 ? static_cast<double>(delivered()) / wall_s : 0.0);
}

void Meter::report_cost(Result& result) {
  const double wall_s = seconds();
  if (server_.is_on()) {
    server_.sample();
    const double cpu_s = end_.server_cpu_s - begin_.server_cpu_s;
    if (wall_s > 0) result.add("server_cores", cpu_s / wall_s);
    if (delivered() > 0) {
      result.add("server_cpu_us_per_message", cpu_s * 1e6 / static_cast<double>(delivered()));
    }
    result.add("server_rss_start_bytes", server_.rss_start_bytes());
    result.add("server_rss_peak_bytes", server_.rss_peak_bytes());
    result.add("server_rss_end_bytes", server_.rss_bytes());
    if (server_.is_gone()) result.warnings.push_back("the server's process ended during the run");
  }
  if (wall_s <= 0) return;
  result.add("generator_core", generator_core());
  result.add("generator_starved", generator_starved());
  if (generator_starved() >= kStarved) {
    result.warnings.push_back(
        "the generator had to wait for a core that other programs used: times and rates are worse "
        "than without them");
  }
  if (generator_core() >= kFullCore) {
    result.warnings.push_back(
        "the generator's own core was at 100 %: the server may be faster than this result");
  }
}

}  // namespace millrace::loadtest
