// The scenarios one2one, fanin, fanout, qos1 and latency.
#include <algorithm>
#include <limits>
#include <memory>

#include "loadtest/fleet.hpp"
#include "loadtest/meter.hpp"
#include "loadtest/pacer.hpp"
#include "loadtest/readers.hpp"
#include "loadtest/scenarios.hpp"

namespace millrace::loadtest {
namespace {

class StreamRun {
 public:
  StreamRun(const Options& options, std::optional<double> rate_per_s)
      : options_(options),
        rate_per_s_(rate_per_s),
        fleet_(options),
        meter_(options, fleet_.loop()) {
    for (std::uint32_t i = 0; i < options.subscribers; ++i) {
      fleet_.add_subscriber(readers_.add(fleet_, &measurement_), true);
    }
    for (std::uint32_t i = 0; i < options.publishers; ++i) fleet_.add_publisher();
  }

  Result run() {
    fleet_.connect_all();
    const Nanos start = now_ns();
    if (rate_per_s_) {
      open_ = std::make_unique<OpenLoop>(fleet_.publishers(), *rate_per_s_, start);
    } else {
      closed_ = std::make_unique<ClosedLoop>(fleet_.publishers(), options_.in_flight,
                                             from_seconds(options_.stall_s));
    }
    const Nanos begin = start + from_seconds(options_.warmup_s);
    load_until(begin, "warm-up");
    measurement_.window_begin_ns = begin;
    meter_.begin(now_ns(), traffic());
    const Nanos end = begin + from_seconds(options_.duration_s);
    load_until(end, "measuring");
    if (is_complete()) drain();  // --messages was given: the window ends with the last delivery
    const Nanos finished = now_ns();
    meter_.end(is_complete() ? readers_.last_arrival_ns() : finished, traffic());
    if (!is_complete()) drain();
    if (open_ && options_.messages == 0) {
      never_sent_ =
          open_->record_unsent(std::min(end, finished), measurement_, options_.subscribers);
    }
    Result result = report();
    fleet_.close_all();
    return result;
  }

 private:
  std::uint64_t published() const { return open_ ? open_->published() : closed_->published(); }
  std::uint64_t published_max() const {
    return options_.messages > 0 ? options_.messages : std::numeric_limits<std::uint64_t>::max();
  }
  bool is_complete() const { return options_.messages > 0 && published() >= options_.messages; }
  Traffic traffic() const { return {published(), readers_.arrivals()}; }
  bool is_over(Nanos now, Nanos until) const {
    return now >= until || is_complete() || fleet_.broken() > 0;
  }

  void load_until(Nanos until, const char* what) {
    for (Nanos now = now_ns(); !is_over(now, until); now = now_ns()) {
      Nanos idle = 100 * kMillisecond;
      if (open_) {
        idle = open_->step(now, published_max());
      } else {
        idle = closed_->step(now, readers_.received_by_all(), published_max());
      }
      fleet_.pump(std::min(idle, until - now));
      meter_.tick(now, traffic(), what);
    }
    if (open_ && fleet_.broken() == 0) open_->step(std::min(now_ns(), until), published_max());
  }

  void drain() {
    const Nanos patience = from_seconds(options_.drain_s);
    Nanos last_progress = now_ns();
    std::uint64_t before = readers_.arrivals();
    const std::uint64_t wanted = published() * options_.subscribers;
    while (readers_.tally().received < wanted || has_unacked()) {
      fleet_.pump(std::min<Nanos>(patience, 100 * kMillisecond));
      const Nanos now = now_ns();
      if (readers_.arrivals() != before) last_progress = now;
      before = readers_.arrivals();
      if (now - last_progress > patience || fleet_.broken() > 0) break;
      meter_.tick(now, traffic(), "draining");
    }
  }

  bool has_unacked() const {
    return std::any_of(fleet_.publishers().begin(), fleet_.publishers().end(),
                       [](const Client* c) { return c->unacked() > 0; });
  }

  Result report() {
    Result r = begin_result(options_);
    if (rate_per_s_) r.add("rate_per_s", *rate_per_s_);
    meter_.report_rates(r);
    readers_.report(r, published() * options_.subscribers);
    if (open_) {
      note_never_sent(r, never_sent_);
    } else {
      r.add("stalls", closed_->stalls());
    }
    if (options_.qos > 0) r.add("refused", fleet_.refused());
    r.add_times("latency", measurement_.latency);
    if (open_) r.add_times("service", measurement_.service);
    meter_.report_cost(r);
    note_connection_faults(r, fleet_);
    return r;
  }

  const Options& options_;
  const std::optional<double> rate_per_s_;
  Fleet fleet_;
  Meter meter_;
  Measurement measurement_;
  Readers readers_;
  std::unique_ptr<OpenLoop> open_;
  std::unique_ptr<ClosedLoop> closed_;
  std::uint64_t never_sent_ = 0;
};

}  // namespace

Result run_stream(const Options& options, std::optional<double> rate_per_s) {
  return StreamRun(options, rate_per_s).run();
}

}  // namespace millrace::loadtest
