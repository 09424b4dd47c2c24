// connect: some diallers, each of which repeatedly connects, waits for CONNACK and sends
// DISCONNECT.
#include <netinet/in.h>

#include <memory>
#include <random>

#include "loadtest/fleet.hpp"
#include "loadtest/meter.hpp"
#include "loadtest/scenarios.hpp"

namespace millrace::loadtest {
namespace {

// A closed port is in TIME_WAIT for a while; with this many source addresses there are enough
// ports.
constexpr std::uint32_t kSources = 64;

class ConnectRun final : public ClientEvents {
 public:
  explicit ConnectRun(const Options& options)
      : options_(options),
        loop_(options.wait == Wait::spin),
        endpoint_(make_endpoint(options)),
        meter_(options, loop_),
        name_prefix_(options.client_id_prefix + "-" +
                     std::to_string(std::random_device()() % 100'000) + "-") {
    for (std::uint32_t i = 0; i < options.diallers; ++i) {
      diallers_.push_back(std::make_unique<Client>(loop_, endpoint_, *this, std::string()));
    }
  }

  Result run() {
    last_success_ns_ = now_ns();
    for (const auto& d : diallers_) redial(*d);
    const Nanos begin = now_ns() + from_seconds(options_.warmup_s);
    dial_until(begin, "warm-up");
    times_.reset();
    meter_.begin(now_ns(), traffic());
    dial_until(begin + from_seconds(options_.duration_s), "measuring");
    meter_.end(now_ns(), traffic());

    Result r = begin_result(options_);
    r.add("diallers", std::uint64_t{options_.diallers});
    r.add("measured_s", meter_.seconds());
    r.add("connects", meter_.delivered());
    r.add("connects_per_s", static_cast<double>(meter_.delivered()) / meter_.seconds());
    r.add("failed", failed_);
    r.add_times("connect", times_);
    meter_.report_cost(r);
    if (failed_ > 0) r.warnings.push_back("the last failure: " + why_);
    r.has_faults = failed_ > 0;
    return r;
  }

  void on_ready(Client& client) override {
    last_success_ns_ = now_ns();
    times_.record(last_success_ns_ - client.dialled_ns());
    ++connected_;
    client.disconnect();
    to_redial_.push_back(&client);
  }
  void on_subscribed(Client&) override {}
  void on_closed(Client& client, const std::string& why) override {
    ++failed_;
    why_ = why;
    to_redial_.push_back(&client);
  }

 private:
  Traffic traffic() const { return {connected_, connected_}; }

  void redial(Client& client) {
    const auto* to = reinterpret_cast<const sockaddr_in*>(&endpoint_.address);
    if (endpoint_.address.ss_family == AF_INET && (ntohl(to->sin_addr.s_addr) >> 24) == 127) {
      client.bind_source(htonl((127u << 24) + 2 + next_source_++ % kSources));
    }
    // A new client identifier each time: a broker may delay one that reconnects at once.
    client.rename(name_prefix_ + std::to_string(dialled_++));
    client.dial();
  }

  void dial_until(Nanos until, const char* what) {
    for (Nanos now = now_ns(); now < until; now = now_ns()) {
      for (const epoll_event& event : loop_.wait(std::min(100 * kMillisecond, until - now))) {
        static_cast<Client*>(event.data.ptr)->on_events(event.events);
      }
      std::vector<Client*> again;
      again.swap(to_redial_);
      for (Client* c : again) redial(*c);
      if (now - last_success_ns_ > from_seconds(options_.connect_timeout_s)) {
        throw RunError(why_.empty() ? "no answer to CONNECT" : why_);
      }
      meter_.tick(now, traffic(), what);
    }
  }

  const Options& options_;
  EventLoop loop_;
  Endpoint endpoint_;
  Meter meter_;
  Histogram times_;
  std::vector<std::unique_ptr<Client>> diallers_;
  std::vector<Client*> to_redial_;
  std::string name_prefix_;
  std::uint64_t dialled_ = 0;
  std::uint32_t next_source_ = 0;
  std::uint64_t connected_ = 0;
  std::uint64_t failed_ = 0;
  Nanos last_success_ns_ = 0;
  std::string why_;
};

}  // namespace

Result run_connect(const Options& options) {
  return ConnectRun(options).run();
}

}  // namespace millrace::loadtest
