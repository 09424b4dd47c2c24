// slow: some readers stop reading while publishing goes on. When they read again, how many bytes
// and how much time does it take until they have seen the newest message of every topic?
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

constexpr Nanos kQuiet = 500 * kMillisecond;

class SlowRun {
 public:
  explicit SlowRun(const Options& options)
      : options_(options), fleet_(options), meter_(options, fleet_.loop()) {
    for (std::uint32_t i = 0; i < options.subscribers; ++i) {
      Stopped reader;
      reader.receiver = stopped_.add(fleet_, nullptr);
      reader.client = &fleet_.add_subscriber(reader.receiver, true);
      slow_.push_back(reader);
    }
    for (std::uint32_t i = 0; i < options.healthy; ++i) {
      fleet_.add_subscriber(healthy_.add(fleet_, &healthy_times_), false);
    }
    for (std::uint32_t i = 0; i < options.publishers; ++i) fleet_.add_publisher();
  }

  Result run() {
    fleet_.connect_all();
    pacer_ =
        std::make_unique<OpenLoop>(fleet_.publishers(), options_.rates_per_s.front(), now_ns());
    publish_for(options_.warmup_s, "warm-up");
    for (Stopped& s : slow_) {
      s.client->set_auto_read(false);
      s.bytes_at_stop = s.client->received_bytes();
      s.arrivals_at_stop = s.receiver->arrivals();
    }
    const std::uint64_t published_before = pacer_->published();
    healthy_times_.window_begin_ns = now_ns();
    meter_.begin(now_ns(), traffic());
    publish_for(options_.pause_s, "stopped");
    meter_.end(now_ns(), traffic());
    never_sent_ = pacer_->record_unsent(published_until_ns_, healthy_times_, options_.healthy);
    settle();
    rss_while_stopped_ = meter_.server().rss_bytes();
    read_again();
    Result result = report(pacer_->published() - published_before);
    fleet_.close_all();
    return result;
  }

 private:
  struct Stopped {
    Client* client = nullptr;
    Receiver* receiver = nullptr;
    std::uint64_t bytes_at_stop = 0;
    std::uint64_t arrivals_at_stop = 0;
    std::uint64_t bytes = 0;     // read until the newest message of every topic was seen
    std::uint64_t messages = 0;  // likewise
    Nanos newest_ns = -1;        // time from reading again until then; -1: not yet
  };

  Traffic traffic() const { return {pacer_->published(), healthy_.arrivals()}; }

  void publish_for(double seconds, const char* what) {
    const Nanos until = now_ns() + from_seconds(seconds);
    for (Nanos now = now_ns(); now < until && fleet_.broken() == 0; now = now_ns()) {
      const Nanos idle = pacer_->step(now, std::numeric_limits<std::uint64_t>::max());
      fleet_.pump(std::min(idle, until - now));
      meter_.tick(now, traffic(), what);
    }
    if (fleet_.broken() == 0) pacer_->step(until, std::numeric_limits<std::uint64_t>::max());
    published_until_ns_ = until;
  }

  // Runs until everything is written and received by the healthy readers, or nothing more arrives.
  void settle() {
    const std::uint64_t wanted = pacer_->published() * options_.healthy;
    const Nanos patience = options_.healthy > 0 ? from_seconds(options_.drain_s) : kQuiet;
    std::uint64_t before = 0;
    Nanos last_progress = now_ns();
    while (options_.healthy == 0 || healthy_.tally().received < wanted) {
      fleet_.pump(10 * kMillisecond);
      const Nanos now = now_ns();
      if (healthy_.arrivals() != before) last_progress = now;
      before = healthy_.arrivals();
      meter_.tick(now, traffic(), "settling");
      if (now - last_progress > patience) break;
    }
  }

  bool has_newest(const Receiver& reader) const {
    for (std::uint32_t p = 0; p < options_.publishers; ++p) {
      for (std::uint32_t t = 0; t < options_.topics; ++t) {
        const std::uint64_t sent = fleet_.publishers()[p]->ring()->stamped_of(t);
        if (reader.next_of(p * options_.topics + t) < sent) return false;
      }
    }
    return true;
  }

  void read_again() {
    const Nanos begin = now_ns();
    for (Stopped& s : slow_) s.client->set_auto_read(true);
    const Nanos give_up = begin + from_seconds(options_.give_up_s);
    std::size_t missing = slow_.size();
    std::uint64_t arrivals = stopped_.arrivals();
    Nanos last_arrival = begin;
    // Until all have seen the newest messages, and then until nothing more arrives.
    for (Nanos now = begin; now < give_up; now = now_ns()) {
      fleet_.pump(std::min(10 * kMillisecond, give_up - now));
      for (Stopped& s : slow_) {
        if (s.newest_ns >= 0 || !has_newest(*s.receiver)) continue;
        s.newest_ns = now_ns() - begin;
        s.bytes = s.client->received_bytes() - s.bytes_at_stop;
        s.messages = s.receiver->arrivals() - s.arrivals_at_stop;
        --missing;
      }
      if (stopped_.arrivals() != arrivals) last_arrival = now_ns();
      arrivals = stopped_.arrivals();
      if (missing == 0 && now_ns() - last_arrival > kQuiet) break;
      if (fleet_.broken() > 0) break;
      meter_.tick(now, traffic(), "reading");
    }
  }

  Result report(std::uint64_t published_meanwhile) {
    Result r = begin_result(options_);
    r.add("rate_per_s", options_.rates_per_s.front());
    r.add("pause_s", options_.pause_s);
    r.add("published_meanwhile", published_meanwhile);
    note_never_sent(r, never_sent_);
    report_slow(r);
    const SequenceTally tally = stopped_.tally();
    r.add("slow_duplicates", tally.duplicates);
    r.add("slow_reordered", tally.reordered);
    r.add("slow_skipped", pacer_->published() * options_.subscribers - tally.received);
    if (tally.duplicates + tally.reordered > 0) r.has_faults = true;
    if (options_.healthy > 0) {
      r.add("healthy", std::uint64_t{options_.healthy});
      healthy_.report(r, pacer_->published() * options_.healthy);
      r.add_times("healthy_latency", healthy_times_.latency);
    }
    if (meter_.server().is_on()) r.add("server_rss_stopped_bytes", rss_while_stopped_);
    meter_.report_cost(r);
    note_connection_faults(r, fleet_);
    return r;
  }

  // Reports the worst of the slow readers.
  void report_slow(Result& r) const {
    std::uint64_t bytes = 0;
    std::uint64_t messages = 0;
    std::uint64_t bytes_total = 0;
    Nanos newest = 0;
    bool has_all = true;
    for (const Stopped& s : slow_) {
      bytes = std::max(bytes, s.bytes);
      messages = std::max(messages, s.messages);
      bytes_total = std::max(bytes_total, s.client->received_bytes() - s.bytes_at_stop);
      newest = std::max(newest, s.newest_ns);
      if (s.newest_ns < 0) has_all = false;
    }
    if (has_all) {
      r.add("bytes_to_newest", bytes);
      r.add("messages_to_newest", messages);
      r.add("newest_after_ms", static_cast<double>(newest) / 1e6);
    } else {
      r.add("bytes_to_newest", "never");
      r.add("messages_to_newest", "never");
      r.add("newest_after_ms", "never");
      r.warnings.push_back("a slow reader never saw the newest message of every topic");
      r.has_faults = true;
    }
    r.add("bytes_until_quiet", bytes_total);
  }

  const Options& options_;
  Fleet fleet_;
  Meter meter_;
  Measurement healthy_times_;
  Readers stopped_;
  Readers healthy_;
  std::vector<Stopped> slow_;
  std::unique_ptr<OpenLoop> pacer_;
  std::uint64_t rss_while_stopped_ = 0;
  Nanos published_until_ns_ = 0;
  std::uint64_t never_sent_ = 0;
};

}  // namespace

Result run_slow(const Options& options) {
  return SlowRun(options).run();
}

}  // namespace millrace::loadtest
