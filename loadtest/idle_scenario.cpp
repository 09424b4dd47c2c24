// idle: many connections that send nothing. How much of the server's memory does each use?
#include "loadtest/fleet.hpp"
#include "loadtest/meter.hpp"
#include "loadtest/readers.hpp"
#include "loadtest/scenarios.hpp"

namespace millrace::loadtest {

Result run_idle(const Options& options) {
  Fleet fleet(options);
  Meter meter(options, fleet.loop());
  for (std::uint32_t i = 0; i < options.connections; ++i) {
    if (options.topics > 0) {
      fleet.add_subscriber(nullptr, true);
    } else {
      fleet.add("i");
    }
  }
  const Nanos begin = now_ns();
  fleet.connect_all();
  const Nanos connected = now_ns();
  const Nanos end = connected + from_seconds(options.duration_s);
  meter.begin(connected, {});
  for (Nanos now = connected; now < end; now = now_ns()) {
    fleet.pump(std::min(100 * kMillisecond, end - now));
    meter.tick(now, {0, fleet.ready()}, "idle");
  }
  meter.end(now_ns(), {});

  Result r = begin_result(options);
  r.add("connections", std::uint64_t{options.connections});
  r.add("subscriptions_per_connection", std::uint64_t{options.topics});
  r.add("connect_s", to_seconds(connected - begin));
  r.add("still_connected", std::uint64_t{fleet.ready()});
  ServerProbe& server = meter.server();
  server.sample();
  const double grown =
      static_cast<double>(server.rss_bytes()) - static_cast<double>(server.rss_start_bytes());
  r.add("server_bytes_per_connection", grown / static_cast<double>(options.connections));
  meter.report_cost(r);
  note_connection_faults(r, fleet);
  fleet.close_all();
  return r;
}

}  // namespace millrace::loadtest
