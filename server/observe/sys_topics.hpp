// $SYS/broker/...: what the server counts, as retained messages under mosquitto's names.
//
// A front-end of the server's own: each publish() reads the counters that /metrics shows and
// submits what has changed since, at QoS 0. Loads are the same totals as moving averages per minute
// over 1, 5 and 15 minutes. Publishing them is not counted as publishing, or each update
// would cause the next.
//
// Only who asks for `$SYS/...` by name gets them: `#` does not match them [MQTT-4.7.2-1], and no
// client may publish there.
//
// Threads: one, main's in the server.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/broker/inbox.hpp"
#include "core/broker/stats.hpp"
#include "server/observe/counters.hpp"

namespace millrace::server {

class SysTopics {
 public:
  // The counters must outlive this. `now_ns`: Inbox::now_ns(), the start of the uptime.
  SysTopics(std::vector<const IoCounters*> threads, const broker::ProcessorStats& processor,
            broker::Inbox& inbox, std::int64_t now_ns);

  // What the inbox has no room for is published next time.
  void publish(std::int64_t now_ns);

 private:
  // Totals since the start, and numbers as of now.
  struct Figures {
    std::uint64_t bytes_received = 0;  // of the sockets
    std::uint64_t bytes_sent = 0;
    std::uint64_t packets_received = 0;  // of any type; mosquitto calls them messages
    std::uint64_t packets_sent = 0;
    std::uint64_t publishes_received = 0;
    std::uint64_t publishes_sent = 0;
    std::uint64_t publishes_dropped = 0;  // by an overflow policy
    std::uint64_t publish_bytes_received = 0;
    std::uint64_t publish_bytes_sent = 0;
    std::uint64_t connects_received = 0;
    std::uint64_t sockets_accepted = 0;
    std::uint64_t clients_total = 0;
    std::uint64_t clients_connected = 0;
    std::uint64_t clients_disconnected = 0;
    std::uint64_t clients_maximum = 0;  // seen connected at once, at any publish()
    std::uint64_t clients_expired = 0;
    std::uint64_t subscriptions = 0;
    std::uint64_t retained = 0;
    std::uint64_t inflight = 0;
    std::uint64_t stored = 0;  // newest values, and what waits for subscribers
    std::uint64_t stored_bytes = 0;
  };
  struct Named {
    std::string_view name;
    std::uint64_t Figures::*field;
  };
  using Load = std::array<double, 3>;  // per minute, over 1, 5 and 15 minutes

  static const std::array<Named, 20> figures;
  static const std::array<Named, 9> loads;

  Figures read() const;
  void update_loads(const Figures& now, std::int64_t now_ns);
  void add(std::string name, std::string text);

  const std::vector<const IoCounters*> threads_;
  const broker::ProcessorStats& processor_;
  broker::Inbox& inbox_;
  const std::int64_t start_ns_;

  std::uint64_t clients_maximum_ = 0;
  Figures previous_;  // as of the last update of the loads
  std::int64_t previous_ns_;
  std::array<Load, 9> loads_{};
  std::map<std::string, std::string> published_;              // the newest text of each topic
  std::vector<std::pair<std::string, std::string>> changed_;  // of the publish() under way
};

}  // namespace millrace::server
