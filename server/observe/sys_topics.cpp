// The names are those of mosquitto(8), "Broker Status".
#include "server/observe/sys_topics.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <numeric>
#include <utility>

#include "core/broker/message.hpp"

namespace millrace::server {

namespace {

constexpr std::array<double, 3> load_minutes = {1, 5, 15};
constexpr std::array<std::string_view, 3> load_words = {"1min", "5min", "15min"};

template <class Array>
std::uint64_t sum(const Array& counters) {
  return std::accumulate(counters.begin(), counters.end(), std::uint64_t{0},
                         [](std::uint64_t total, const auto& one) { return total + one.value(); });
}

broker::Command announcement(const std::string& topic, const std::string& text,
                             std::int64_t now_ns) {
  const auto* payload = reinterpret_cast<const std::uint8_t*>(text.data());
  auto message = std::make_unique<broker::Message>(
      broker::build_message({.topic = topic,
                             .payload = {payload, text.size()},
                             .retain = true,
                             .version = protocol::Version::v3_1_1},
                            now_ns));
  return {nullptr, broker::command::Announce{std::move(message)}};
}

}  // namespace

const std::array<SysTopics::Named, 20> SysTopics::figures = {{
    {"bytes/received", &Figures::bytes_received},
    {"bytes/sent", &Figures::bytes_sent},
    {"clients/connected", &Figures::clients_connected},
    {"clients/disconnected", &Figures::clients_disconnected},
    {"clients/expired", &Figures::clients_expired},
    {"clients/maximum", &Figures::clients_maximum},
    {"clients/total", &Figures::clients_total},
    {"messages/inflight", &Figures::inflight},
    {"messages/received", &Figures::packets_received},
    {"messages/sent", &Figures::packets_sent},
    {"messages/stored", &Figures::stored},
    {"publish/bytes/received", &Figures::publish_bytes_received},
    {"publish/bytes/sent", &Figures::publish_bytes_sent},
    {"publish/messages/dropped", &Figures::publishes_dropped},
    {"publish/messages/received", &Figures::publishes_received},
    {"publish/messages/sent", &Figures::publishes_sent},
    {"retained messages/count", &Figures::retained},
    {"store/messages/bytes", &Figures::stored_bytes},
    {"store/messages/count", &Figures::stored},
    {"subscriptions/count", &Figures::subscriptions},
}};

const std::array<SysTopics::Named, 9> SysTopics::loads = {{
    {"bytes/received", &Figures::bytes_received},
    {"bytes/sent", &Figures::bytes_sent},
    {"connections", &Figures::connects_received},
    {"messages/received", &Figures::packets_received},
    {"messages/sent", &Figures::packets_sent},
    {"publish/dropped", &Figures::publishes_dropped},
    {"publish/received", &Figures::publishes_received},
    {"publish/sent", &Figures::publishes_sent},
    {"sockets", &Figures::sockets_accepted},
}};

SysTopics::SysTopics(std::vector<const IoCounters*> threads,
                     const broker::ProcessorStats& processor, broker::Inbox& inbox,
                     std::int64_t now_ns)
    : threads_(std::move(threads)),
      processor_(processor),
      inbox_(inbox),
      start_ns_(now_ns),
      previous_ns_(now_ns) {}

SysTopics::Figures SysTopics::read() const {
  constexpr auto connect = static_cast<std::size_t>(protocol::PacketType::connect);
  Figures now;
  for (const IoCounters* io : threads_) {
    now.bytes_received += io->bytes_received.value();
    now.bytes_sent += io->bytes_sent.value();
    now.packets_received += sum(io->packets_received);
    now.packets_sent += sum(io->packets_sent);
    now.publishes_received += sum(io->messages_received);
    now.publishes_sent += sum(io->messages_sent);
    now.publish_bytes_received += sum(io->message_bytes_received);
    now.publish_bytes_sent += sum(io->message_bytes_sent);
    now.connects_received += io->packets_received[connect].value();
    now.sockets_accepted += sum(io->accepted);
  }
  using broker::Drop;
  for (const Drop why : {Drop::queue_oldest, Drop::queue_newest, Drop::queue_disconnect}) {
    now.publishes_dropped += processor_.dropped[static_cast<std::size_t>(why)].value();
  }
  now.clients_connected = processor_.sessions_connected.value();
  now.clients_total = std::max(processor_.sessions.value(), now.clients_connected);
  now.clients_disconnected = now.clients_total - now.clients_connected;
  now.clients_expired = processor_.sessions_expired.value();
  now.subscriptions = processor_.subscriptions.value();
  now.retained = processor_.retained.value();
  now.inflight = processor_.inflight.value();
  now.stored = processor_.topics.value() + processor_.pending.value();
  now.stored_bytes = processor_.topic_bytes.value() + processor_.pending_bytes.value();
  return now;
}

// Each average decays by 1/e in its own number of minutes.
void SysTopics::update_loads(const Figures& now, std::int64_t now_ns) {
  const double minutes = static_cast<double>(now_ns - previous_ns_) / 60e9;
  if (minutes <= 0) return;
  for (std::size_t i = 0; i < loads.size(); ++i) {
    const auto field = loads[i].field;
    const double rate = static_cast<double>(now.*field - previous_.*field) / minutes;
    for (std::size_t span = 0; span < load_minutes.size(); ++span) {
      double& load = loads_[i][span];
      load = rate + std::exp(-minutes / load_minutes[span]) * (load - rate);
    }
  }
  previous_ = now;
  previous_ns_ = now_ns;
}

void SysTopics::add(std::string name, std::string text) {
  std::string topic = "$SYS/broker/" + std::move(name);
  const auto known = published_.find(topic);
  if (known != published_.end() && known->second == text) return;
  changed_.emplace_back(std::move(topic), std::move(text));
}

void SysTopics::publish(std::int64_t now_ns) {
  Figures now = read();
  clients_maximum_ = std::max(clients_maximum_, now.clients_connected);
  now.clients_maximum = clients_maximum_;
  update_loads(now, now_ns);

  changed_.clear();
  add("version", "millrace version " MILLRACE_VERSION);
  add("uptime", std::to_string((now_ns - start_ns_) / 1'000'000'000) + " seconds");
  for (const Named& figure : figures) {
    add(std::string(figure.name), std::to_string(now.*figure.field));
  }
  for (std::size_t i = 0; i < loads.size(); ++i) {
    for (std::size_t span = 0; span < load_words.size(); ++span) {
      char text[32];
      std::snprintf(text, sizeof text, "%.2f", loads_[i][span]);
      add("load/" + std::string(loads[i].name) + "/" + std::string(load_words[span]), text);
    }
  }

  std::vector<broker::Command> commands;
  for (const auto& [topic, text] : changed_) {
    commands.push_back(announcement(topic, text, broker::Inbox::now_ns()));
  }
  const std::size_t taken = inbox_.submit(commands);
  for (std::size_t i = 0; i < taken; ++i) {
    published_.insert_or_assign(std::move(changed_[i].first), std::move(changed_[i].second));
  }
}

}  // namespace millrace::server
