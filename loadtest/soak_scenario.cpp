// soak: a steady stream at a fixed rate for a long time, while other clients connect, subscribe,
// publish and leave, half of them without DISCONNECT. Is anything lost, and does the server's
// memory grow?
#include <algorithm>
#include <cstdio>
#include <limits>
#include <memory>
#include <random>

#include "loadtest/fleet.hpp"
#include "loadtest/meter.hpp"
#include "loadtest/pacer.hpp"
#include "loadtest/readers.hpp"
#include "loadtest/scenarios.hpp"
#include "loadtest/slope.hpp"

namespace millrace::loadtest {
namespace {

constexpr std::size_t kVisitorsMax = 1000;
constexpr int kVisitorPublishes = 5;

// The short-lived clients. A visitor stays connected for up to two seconds.
class Visitors final : public ClientEvents {
 public:
  Visitors(const Options& options, Fleet& fleet) : options_(options), fleet_(fleet) {}

  void step(Nanos now) {
    if (next_ns_ == 0) next_ns_ = now;
    while (options_.churn_per_s > 0 && now >= next_ns_) {
      next_ns_ += from_seconds(1 / options_.churn_per_s);
      if (guests_.size() < kVisitorsMax) invite(now);
    }
    std::erase_if(guests_, [&](Guest& g) { return send_away_if_due(g, now); });
  }

  std::uint64_t came() const { return came_; }
  std::uint64_t turned_away() const { return turned_away_; }
  const std::string& why() const { return why_; }

  void on_ready(Client& client) override {
    ++came_;
    Fleet::Subscription s = fleet_.subscription(true);
    client.subscribe(s.filters, s.qos, s.user_properties);
  }
  // Publishes outside the measured topics, so that no measured sequence is disturbed. The number of
  // topics is limited, because a broker may keep state for each topic.
  void on_subscribed(Client& client) override {
    const std::string topic =
        options_.topic_prefix + "-visitors/" + std::to_string(came_ % kVisitorsMax);
    for (int i = 0; i < kVisitorPublishes; ++i) {
      client.send_control(
          encode_publish(options_.mqtt, topic, std::string(options_.payload_bytes, 'v'), 0, 0));
      if (!client.is_open()) return;
    }
  }
  void on_closed(Client&, const std::string& why) override {
    ++turned_away_;
    why_ = why;
  }

 private:
  struct Guest {
    std::unique_ptr<Client> client;
    Nanos leaves_ns;
    bool says_goodbye;
  };

  void invite(Nanos now) {
    Guest guest;
    guest.client = std::make_unique<Client>(fleet_.loop(), fleet_.endpoint(), *this,
                                            options_.client_id_prefix + "-visitor-" +
                                                std::to_string(fleet_.run() % 100'000) + "-" +
                                                std::to_string(invited_++));
    guest.leaves_ns = now + static_cast<Nanos>(random_() % (2 * kSecond));
    guest.says_goodbye = random_() % 2 == 0;
    guest.client->dial();
    guests_.push_back(std::move(guest));
  }

  static bool send_away_if_due(Guest& guest, Nanos now) {
    if (!guest.client->is_open()) return true;
    if (now < guest.leaves_ns) return false;
    if (guest.says_goodbye) {
      guest.client->disconnect();
    } else {
      guest.client->abort();
    }
    return true;
  }

  const Options& options_;
  Fleet& fleet_;
  std::mt19937_64 random_{std::random_device()()};
  std::vector<Guest> guests_;
  Nanos next_ns_ = 0;
  std::uint64_t invited_ = 0;
  std::uint64_t came_ = 0;
  std::uint64_t turned_away_ = 0;
  std::string why_;
};

class SoakRun {
 public:
  explicit SoakRun(const Options& options)
      : options_(options),
        fleet_(options),
        meter_(options, fleet_.loop()),
        visitors_(options, fleet_) {
    for (std::uint32_t i = 0; i < options.subscribers; ++i) {
      fleet_.add_subscriber(readers_.add(fleet_, &measurement_), true);
    }
    for (std::uint32_t i = 0; i < options.publishers; ++i) fleet_.add_publisher();
  }

  Result run() {
    fleet_.connect_all();
    pacer_ =
        std::make_unique<OpenLoop>(fleet_.publishers(), options_.rates_per_s.front(), now_ns());
    const Nanos begin = now_ns() + from_seconds(options_.warmup_s);
    load_until(begin, "warm-up");
    measurement_.window_begin_ns = begin;
    begin_ns_ = begin;
    meter_.begin(now_ns(), traffic());
    const Nanos end = begin + from_seconds(options_.duration_s);
    load_until(end, "soaking");
    meter_.end(now_ns(), traffic());
    never_sent_ =
        pacer_->record_unsent(std::min(end, now_ns()), measurement_, options_.subscribers);
    drain();
    Result result = report();
    fleet_.close_all();
    return result;
  }

 private:
  Traffic traffic() const { return {pacer_->published(), readers_.arrivals()}; }

  void load_until(Nanos until, const char* what) {
    for (Nanos now = now_ns(); now < until && fleet_.broken() == 0; now = now_ns()) {
      const Nanos idle = pacer_->step(now, std::numeric_limits<std::uint64_t>::max());
      visitors_.step(now);
      fleet_.pump(std::min({idle, until - now, 20 * kMillisecond}));
      meter_.tick(now, traffic(), what);
      sample_memory(now);
    }
    if (fleet_.broken() == 0) pacer_->step(until, std::numeric_limits<std::uint64_t>::max());
  }

  // Adds one point a second from the window's begin on.
  void sample_memory(Nanos now) {
    if (begin_ns_ == 0 || !meter_.server().is_on() || now < next_sample_ns_) return;
    next_sample_ns_ = now + kSecond;
    memory_.add(to_seconds(now - begin_ns_), static_cast<double>(meter_.server().rss_bytes()));
  }

  void drain() {
    const Nanos patience = from_seconds(options_.drain_s);
    Nanos last_progress = now_ns();
    std::uint64_t before = readers_.arrivals();
    const std::uint64_t wanted = pacer_->published() * options_.subscribers;
    while (readers_.tally().received < wanted && fleet_.broken() == 0) {
      fleet_.pump(100 * kMillisecond);
      const Nanos now = now_ns();
      if (readers_.arrivals() != before) last_progress = now;
      before = readers_.arrivals();
      if (now - last_progress > patience) break;
      meter_.tick(now, traffic(), "draining");
    }
  }

  Result report() {
    Result r = begin_result(options_);
    r.add("rate_per_s", options_.rates_per_s.front());
    meter_.report_rates(r);
    readers_.report(r, pacer_->published() * options_.subscribers);
    if (options_.qos > 0) r.add("refused", fleet_.refused());
    note_never_sent(r, never_sent_);
    r.add("visitors", visitors_.came());
    r.add("visitors_turned_away", visitors_.turned_away());
    if (visitors_.turned_away() > 0) {
      r.warnings.push_back("the last visitor whose connection ended: " + visitors_.why());
    }
    if (meter_.server().is_on()) {
      // The first fifth is left out: it is growth to the working size, not a leak.
      const double from_s = options_.duration_s / 5;
      r.add("server_rss_slope_bytes_per_minute", memory_.slope_from(from_s) * 60);
    }
    r.add_times("latency", measurement_.latency);
    r.add_times("service", measurement_.service);
    meter_.report_cost(r);
    note_connection_faults(r, fleet_);
    return r;
  }

  const Options& options_;
  Fleet fleet_;
  Meter meter_;
  Visitors visitors_;
  Measurement measurement_;
  Readers readers_;
  std::unique_ptr<OpenLoop> pacer_;
  Slope memory_;
  Nanos begin_ns_ = 0;
  Nanos next_sample_ns_ = 0;
  std::uint64_t never_sent_ = 0;
};

}  // namespace

Result run_soak(const Options& options) {
  return SoakRun(options).run();
}

}  // namespace millrace::loadtest
