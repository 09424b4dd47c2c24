// Live values over HTTP, without an MQTT library:
//
//     GET /events?filter=a/%23&max_rate_hz=2      Server-Sent Events: the newest value of each topic
//                                                 that matches, then whatever is newest each time
//                                                 that the reader has taken what was sent
//
// Conflated per reader as `$latest/` is (event_stream.hpp), by the rights of the HTTP user
// (access.hpp). `Last-Event-ID`, which an EventSource sends by itself when it comes again, names how
// far the reader has everything: it then gets what changed since.
//
// A reload ends all streams: their readers come again, and are judged by the new rules. The stream of
// a token ends with the token.
//
// Threads: constructed before http.start(); set_rules() any thread; everything else the HTTP
// thread. The HttpServer rests, and then the processor, before this is destroyed.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/broker/inbox.hpp"
#include "core/broker/outbox.hpp"
#include "server/config/config.hpp"
#include "server/http/event_query.hpp"
#include "server/http/event_stream.hpp"
#include "server/http/server.hpp"
#include "server/http/topics.hpp"
#include "server/net/late_binding.hpp"
#include "server/net/look_wheel.hpp"
#include "server/observe/metrics.hpp"

namespace millrace::server {

std::vector<MetricRow> event_metric_rows(const EventCounters& counters);

class EventRoutes final : private LateHome {
 public:
  // How a filter is served to a user who asks for `latest` at that rate (unset: any); operators' rules
  // have the last word.
  struct Delivery {
    broker::Mode mode = broker::Mode::latest;
    broker::ShapeRef shape;
  };
  using ChooseDelivery = std::function<Delivery(std::string_view filter, std::string_view user,
                                                std::optional<double> max_rate_hz)>;
  struct Options {
    std::uint32_t streams_max = 128;
    std::uint32_t levels_max = 128;  // of a filter
    // Of its keys those of credit; unread_bytes 0: what the readers have not read is not asked for.
    OutboxConfig outbox;
    std::chrono::milliseconds heartbeat{15'000};
  };

  // Adds its routes to `http`. `topics` knows the access rules, the origins and the run.
  EventRoutes(HttpServer& http, broker::Inbox& inbox, TopicRoutes& topics, const Options& options,
              ChooseDelivery choose);
  EventRoutes(const EventRoutes&) = delete;
  EventRoutes& operator=(const EventRoutes&) = delete;

  // After the access rules were set. Ends the streams that are open.
  void set_rules(ChooseDelivery choose);

  const EventCounters& counters() const { return counters_; }
  // The connection behind it is one of these readers: it is described on the HTTP thread.
  bool owns(const broker::Outbox& outbox) const { return &outbox.ready_list() == &ready_list_; }

 private:
  void get_events(HttpExchange::Ptr exchange);
  void begin(const HttpExchange::Ptr& exchange, const EventQuery& query,
             const std::shared_ptr<const Grants>& grants);
  ChooseDelivery chosen() const;
  // --- LateHome ---
  const OutboxConfig& outbox_config() const override { return options_.outbox; }
  void schedule_look(Look& look, std::int64_t at_ns, std::int64_t now_ns) override;
  void cancel_look(Look& look) override { looks_.cancel(look); }
  Counter& unread_bytes() override { return counters_.unread_bytes; }
  Counter& late_binding_unknown() override { return counters_.late_binding_unknown; }
  void await_look();

  void serve_ready();
  void beat();
  void forget_ended();

  HttpServer& http_;
  broker::Inbox& inbox_;
  TopicRoutes& topics_;
  const Options options_;
  mutable std::mutex mutex_;
  ChooseDelivery choose_;  // under mutex_
  EventCounters counters_;
  broker::ReadyList ready_list_;
  std::vector<broker::OutboxRef> ready_;
  LookWheel looks_;
  boost::asio::steady_timer look_timer_;
  std::int64_t look_due_ns_ = INT64_MAX;  // when it ends; INT64_MAX: it does not run
  std::vector<std::shared_ptr<EventStream>> streams_;
  boost::asio::steady_timer timer_;  // runs while there are streams
};

}  // namespace millrace::server
