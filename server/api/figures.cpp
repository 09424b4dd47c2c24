// What the management API tells of the server as a whole: counters and settings.
#include <algorithm>

#include "core/broker/ledger.hpp"
#include "server/api/api.hpp"

namespace millrace::server {

using Json = nlohmann::ordered_json;

Json ApiRoutes::server_json() const {
  const broker::ProcessorStats& stats = parts_.processor.stats();
  const std::int64_t up_ns = broker::Inbox::now_ns() - start_ns_;
  Json listeners = Json::array();
  for (const Listener* listener : parts_.listeners) {
    const ListenerConfig& config = listener->config();
    listeners.push_back({{"name", config.name},
                         {"transport", to_string(config.transport)},
                         {"host", config.uses_unix() ? config.socket : config.host},
                         {"port", listener->port()}});
  }
  return {{"version", MILLRACE_VERSION},
          {"run", parts_.topics.run()},
          {"uptime_seconds", up_ns / 1'000'000'000},
          {"sessions", stats.sessions.value()},
          {"sessions_connected", stats.sessions_connected.value()},
          {"sessions_slow", stats.slow_sessions.value()},
          {"subscriptions", stats.subscriptions.value()},
          {"topics", stats.topics.value()},
          {"retained", stats.retained.value()},
          {"event_streams", parts_.events.counters().streams.value()},
          {"listeners", std::move(listeners)}};
}

Json ApiRoutes::queue_json() const {
  const auto& queue = parts_.inbox.queue();
  const auto stats = queue.stats();
  const auto& config = settings()->config.queue;
  return {{"depth", queue.len()},
          {"capacity", queue.capacity()},
          {"capacity_min", config.min_capacity},
          {"capacity_max", config.max_capacity},
          {"bytes", parts_.inbox.queued_bytes()},
          {"memory_bytes", stats.memory_bytes},
          {"pushed", stats.pushed},
          {"popped", stats.popped},
          {"resizes", stats.resizes},
          {"full", stats.full},
          {"peak", stats.peak}};
}

Json ApiRoutes::rings_json() const {
  Json rings = Json::array(), tables = Json::array();
  std::size_t consumers = 0;
  if (parts_.local_host != nullptr) {
    const auto figures = parts_.local_host->figures();
    consumers = figures.consumers;
    for (const auto& ring : figures.rings) {
      rings.push_back({{"filter", ring.filter},
                       {"policy", to_string(ring.policy)},
                       {"readers", ring.stats.readers},
                       {"messages", ring.stats.sequence},
                       {"lag_max_bytes", ring.stats.lag_max_bytes},
                       {"lapped", ring.stats.lapped},
                       {"evictions", ring.stats.evictions},
                       {"oversize", ring.stats.oversize},
                       {"overflow_bytes", ring.stats.overflow_bytes},
                       {"data_bytes", ring.stats.data_bytes}});
    }
    for (const auto& table : figures.tables) {
      tables.push_back(
          {{"filter", table.filter}, {"readers", table.users}, {"displaced", table.displaced}});
    }
  }
  return {{"readers", consumers}, {"rings", std::move(rings)}, {"tables", std::move(tables)}};
}

// What there is of what is limited for the server as a whole, and the limit.
Json ApiRoutes::limits_json() const {
  const broker::ProcessorStats& stats = parts_.processor.stats();
  const auto now = settings();
  const Config& config = now->config;
  std::size_t connections = 0;
  for (const IoThread* thread : parts_.threads) connections += thread->resident_count();
  const HttpCounters& http = parts_.http.counters();
  const auto row = [](const char* key, std::uint64_t used, std::uint64_t limit) {
    return Json{{"key", key}, {"used", used}, {"limit", limit}};
  };
  Json rows = {
      row("connection.count_max", connections, config.connection.count_max),
      row("session.count_max", stats.sessions.value(), config.session.count_max),
      row("session.all_subscriptions_max", stats.subscriptions.value(),
          config.session.all_subscriptions_max),
      row("memory.bytes_max", parts_.inbox.ledger().total(), parts_.inbox.ledger().bytes_max()),
      row("slots.count_max", stats.topics.value(), config.slots.count_max),
      row("slots.bytes_max", stats.topic_bytes.value(), config.slots.bytes_max),
      row("queue.max_capacity", parts_.inbox.queue().len(), config.queue.max_capacity),
      row("queue.bytes_max", parts_.inbox.queued_bytes(), config.queue.bytes_max),
      row("http.connections_max",
          http.connections_accepted.value() - http.connections_closed.value(),
          config.http.connections_max),
      row("http.event_streams_max", parts_.events.counters().streams.value(),
          config.http.event_streams_max),
      row("http.long_polls_max", parts_.topics.counters().long_polls.value(),
          config.http.long_polls_max)};
  if (parts_.local_host != nullptr) {
    const auto figures = parts_.local_host->figures();
    std::size_t table_readers = 0;
    for (const auto& table : figures.tables) table_readers += table.users;
    const LocalConfig& local = config.local;
    rows.push_back(row("local.rings_max", figures.rings.size(), local.rings_max));
    rows.push_back(row("local.tables_max", figures.tables.size(), local.tables_max));
    // Readers of rings may be so many, and those of tables too.
    rows.push_back(row("local.consumers_max", std::max(figures.consumers, table_readers),
                       local.consumers_max));
    rows.push_back(row("local.publishers_max", parts_.local_host->control_figures().publisher_rings,
                       local.publishers_max));
  }
  return {{"limits", std::move(rows)}};
}

// Keys that name secrets name the files that hold them, and no key holds one itself.
Json ApiRoutes::config_json_of() const {
  return Json::parse(config_json(settings()->config));
}

Json ApiRoutes::upstreams_json() const {
  Json list = Json::array();
  parts_.upstreams.for_each([&](const std::string& name, const UpstreamStats& stats) {
    Json refused = Json::object();
    for (std::size_t i = 0; i < stats.refused.size(); ++i) {
      refused[link_refusal_words[i]] = stats.refused[i].value();
    }
    list.push_back({{"name", name},
                    {"up", stats.up.value() > 0},
                    {"connects", stats.connects.value()},
                    {"connect_failures", stats.failures.value()},
                    {"messages_in", stats.messages_in.value()},
                    {"messages_out", stats.messages_out.value()},
                    {"bytes_in", stats.bytes_in.value()},
                    {"bytes_out", stats.bytes_out.value()},
                    {"waiting", stats.spool->messages.value()},
                    {"waiting_bytes", stats.spool->bytes.value()},
                    {"refused", std::move(refused)},
                    {"round_trip_ms", static_cast<double>(stats.round_trip_ns.value()) / 1e6}});
  });
  return {{"upstreams", std::move(list)}};
}

Json ApiRoutes::bans_json() const {
  Json list = Json::array();
  for (const Guests::Ban& ban : parts_.guests.bans(Guests::Clock::now())) {
    list.push_back({{"address", ban.address}, {"seconds_left", ban.left.count()}});
  }
  return {{"bans", std::move(list)}};
}

}  // namespace millrace::server
