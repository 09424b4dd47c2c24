// fresh: readers with a limited byte rate on a faster stream. How old are the values that they
// read, does the age increase with time, and for how long is a topic not seen at all?
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "loadtest/fleet.hpp"
#include "loadtest/meter.hpp"
#include "loadtest/pacer.hpp"
#include "loadtest/readers.hpp"
#include "loadtest/scenarios.hpp"

namespace millrace::loadtest {
namespace {

constexpr Nanos kReadInterval = 5 * kMillisecond;
constexpr Nanos kFinalPart = 2 * kSecond;  // "final" ages are those of the run's last two seconds
// Small, so that the kernel reads ahead by little, but large enough for a large packet.
constexpr int kLimitedReceiveBuffer = 64 * 1024;

// Collects the ages second by second, and the longest time for which one reader did not see a
// topic.
class AgeWatch final : public MessageObserver {
 public:
  AgeWatch(std::uint32_t topics, Nanos begin_ns) : begin_ns_(begin_ns), last_seen_(topics) {}

  void restart(Nanos begin_ns) { begin_ns_ = begin_ns; }

  void on_message(const Stamp& stamp, Nanos now) override {
    const Nanos age = now - stamp.sent_ns;
    const auto second = static_cast<std::size_t>(std::max<Nanos>(0, now - begin_ns_) / kSecond);
    if (second >= by_second_.size()) by_second_.resize(second + 1);
    by_second_[second].record(age);
    recent_.push_back({now, age});
    see_topic(stamp.stream % static_cast<std::uint32_t>(last_seen_.size()), now);
  }

  void finish(Nanos now) {
    for (std::uint32_t t = 0; t < last_seen_.size(); ++t) {
      const Nanos since = last_seen_[t] == 0 ? begin_ns_ : last_seen_[t];
      unseen_max_ns_ = std::max(unseen_max_ns_, now - since);
    }
  }

  Histogram since(Nanos from) const {
    Histogram out;
    for (const auto& [at, age] : recent_) {
      if (at >= from) out.record(age);
    }
    return out;
  }

  const std::vector<Histogram>& by_second() const { return by_second_; }
  Nanos unseen_max_ns() const { return unseen_max_ns_; }

 private:
  struct Seen {
    Nanos at;
    Nanos age;
  };

  void see_topic(std::uint32_t topic, Nanos now) {
    if (last_seen_[topic] != 0) {
      unseen_max_ns_ = std::max(unseen_max_ns_, now - last_seen_[topic]);
    }
    last_seen_[topic] = now;
  }

  Nanos begin_ns_;
  std::vector<Nanos> last_seen_;  // by topic
  std::vector<Histogram> by_second_;
  std::vector<Seen> recent_;  // everything read: little, since the reader is limited
  Nanos unseen_max_ns_ = 0;
};

class FreshRun {
 public:
  explicit FreshRun(const Options& options)
      : options_(options), fleet_(options), meter_(options, fleet_.loop()) {
    for (std::uint32_t i = 0; i < options.subscribers; ++i) {
      watches_.push_back(std::make_unique<AgeWatch>(options.topics, 0));
      Client& client =
          fleet_.add_subscriber(limited_.add(fleet_, nullptr, watches_.back().get()), true);
      if (options.receive_buffer_bytes == 0) client.use_receive_buffer(kLimitedReceiveBuffer);
      clients_.push_back(&client);
    }
    for (std::uint32_t i = 0; i < options.healthy; ++i) {
      fleet_.add_subscriber(healthy_.add(fleet_, &healthy_times_), false);
    }
    for (std::uint32_t i = 0; i < options.publishers; ++i) fleet_.add_publisher();
  }

  Result run() {
    fleet_.connect_all();
    const Nanos begin = now_ns();
    for (Client* c : clients_) c->set_auto_read(false);
    for (const auto& w : watches_) w->restart(begin);
    healthy_times_.window_begin_ns = begin;
    OpenLoop pacer(fleet_.publishers(), options_.rates_per_s.front(), begin);
    const auto traffic = [&] { return Traffic{pacer.published(), limited_.arrivals()}; };
    meter_.begin(begin, traffic());
    const Nanos end = begin + from_seconds(options_.duration_s);
    Nanos next_read = begin;
    for (Nanos now = begin; now < end && fleet_.broken() == 0; now = now_ns()) {
      Nanos idle = pacer.step(now, std::numeric_limits<std::uint64_t>::max());
      if (now >= next_read) {
        read_limited(now - begin);
        next_read = now + kReadInterval;
      }
      idle = std::min({idle, next_read - now, end - now});
      fleet_.pump(std::max<Nanos>(0, idle));
      meter_.tick(now, traffic(), "measuring");
    }
    if (fleet_.broken() == 0) pacer.step(end, std::numeric_limits<std::uint64_t>::max());
    const Nanos finished = now_ns();
    meter_.end(finished, traffic());
    never_sent_ = pacer.record_unsent(end, healthy_times_, options_.healthy);
    for (const auto& w : watches_) w->finish(finished);
    Result result = report(finished);
    fleet_.close_all();
    return result;
  }

 private:
  // Reads the bytes that the rate has granted by now. A grant that is not used expires.
  void read_limited(Nanos elapsed) {
    const double granted = to_seconds(elapsed) * options_.read_rate_bytes_per_s;
    const double step = granted - granted_before_;
    granted_before_ = granted;
    carried_ += step;
    const auto bytes = static_cast<std::size_t>(carried_);
    carried_ -= static_cast<double>(bytes);
    if (bytes == 0) return;
    for (Client* c : clients_) c->read_some(bytes);
  }

  Result report(Nanos finished) {
    Result r = begin_result(options_);
    r.add("rate_per_s", options_.rates_per_s.front());
    r.add("read_rate_bytes_per_s", options_.read_rate_bytes_per_s);
    meter_.report_rates(r);
    note_never_sent(r, never_sent_);
    Histogram all;
    Histogram final_part;
    Nanos unseen = 0;
    std::vector<Histogram> by_second;
    for (const auto& w : watches_) {
      if (w->by_second().size() > by_second.size()) by_second.resize(w->by_second().size());
      for (std::size_t s = 0; s < w->by_second().size(); ++s) by_second[s].merge(w->by_second()[s]);
      final_part.merge(w->since(finished - kFinalPart));
      unseen = std::max(unseen, w->unseen_max_ns());
    }
    for (const Histogram& h : by_second) all.merge(h);
    r.add_times("age", all);
    r.add_times("final_age", final_part);
    r.add("age_p99_by_second_ms", list_of(by_second));
    r.add("topic_unseen_max_ms", static_cast<double>(unseen) / 1e6);
    const SequenceTally tally = limited_.tally();
    r.add("limited_duplicates", tally.duplicates);
    r.add("limited_reordered", tally.reordered);
    if (tally.duplicates + tally.reordered > 0) r.has_faults = true;
    if (options_.healthy > 0) r.add_times("healthy_latency", healthy_times_.latency);
    meter_.report_cost(r);
    note_connection_faults(r, fleet_);
    return r;
  }

  static std::string list_of(const std::vector<Histogram>& by_second) {
    std::string out;
    for (const Histogram& h : by_second) {
      if (!out.empty()) out += ' ';
      if (h.empty()) {
        out += '-';
      } else {
        out += std::to_string(std::lround(static_cast<double>(h.percentile(99)) / 1e6));
      }
    }
    return out;
  }

  const Options& options_;
  Fleet fleet_;
  Meter meter_;
  Measurement healthy_times_;
  Readers limited_;
  Readers healthy_;
  std::vector<std::unique_ptr<AgeWatch>> watches_;
  std::vector<Client*> clients_;
  double granted_before_ = 0;
  double carried_ = 0;
  std::uint64_t never_sent_ = 0;
};

}  // namespace

Result run_fresh(const Options& options) {
  return FreshRun(options).run();
}

}  // namespace millrace::loadtest
