// The processor with a million subscriptions, or a million retained topics: the time of a publish,
// the memory, and the delay of other clients while one client receives all retained messages, or
// while the management API lists 100,000 clients.
//
// Only the processor is measured, without sockets: commands in, hand-overs out.
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/table.hpp"
#include "core/broker/processor.hpp"
#include "server/api/clients.hpp"

namespace millrace::bench {
namespace {

using namespace broker;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kMillion = 1'000'000;
constexpr std::size_t kClients = 100'000;
constexpr std::size_t kFiltersPerClient = kMillion / kClients;
constexpr std::size_t kBatch = 1000;

double nanoseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::nano>(duration).count();
}

double heap_bytes() {
  const auto in_use = ::mallinfo2();
  return static_cast<double>(in_use.uordblks + in_use.hblkhd);
}

std::string topic_name(std::size_t number) {
  std::string name = "plant/";
  name += std::to_string(number % 977);
  name += "/sensor/";
  return name += std::to_string(number);
}

// One filter in ten has a `+`, one in ten a `#`; each matches the topic of its number.
std::string filter_of(std::size_t number) {
  if (number % 10 == 0) return "plant/+/sensor/" + std::to_string(number);
  if (number % 10 == 1) return topic_name(number) + "/#";
  return topic_name(number);
}

class Client final : public OutboxOwner {
 public:
  Client(ReadyList& ready, std::string id) : outbox(new Outbox(ready, *this)), id_(std::move(id)) {}
  void on_outbox_ready() override {}

  Command connect() const {
    auto request = std::make_unique<ConnectRequest>();
    request->client_id = id_;
    request->clean_start = false;
    request->session_expiry_s = 1'000'000;
    return {outbox.get(), command::Connect{std::move(request)}};
  }
  Command subscribe(std::vector<std::string> filters) const {
    auto request = std::make_unique<SubscribeRequest>();
    request->packet_id = 1;
    for (std::string& filter : filters) {
      SubscriptionRequest& wanted = request->filters.emplace_back();
      wanted.name = filter;
      wanted.filter = std::move(filter);
    }
    return {outbox.get(), command::Subscribe{std::move(request)}};
  }
  Command publish(std::string_view topic, std::string_view payload, bool retain,
                  std::int64_t now_ns) const {
    MessageParts parts;
    parts.topic = topic;
    parts.payload = {reinterpret_cast<const std::uint8_t*>(payload.data()), payload.size()};
    parts.retain = retain;
    Message message = build_message(parts, now_ns);
    const std::uint32_t bytes = message.packet_bytes;
    return {outbox.get(), command::Publish{std::move(message), bytes}};
  }
  Command close() const { return {outbox.get(), command::Close{}}; }
  Command drained(std::uint32_t bytes) const { return {outbox.get(), command::Drained{bytes}}; }

  OutboxRef outbox;

 private:
  std::string id_;
};

// A processor that runs with the real clock.
class Broker {
 public:
  Broker() : processor_(limits()) {}
  ~Broker() {
    for (const auto& client : clients_) apply(client->close());
  }

  Client& connect(const std::string& id) {
    clients_.push_back(std::make_unique<Client>(ready_, id));
    apply(clients_.back()->connect());
    return *clients_.back();
  }
  // Closes the connection, as its I/O thread would; the session is kept.
  void leave() {
    apply(clients_.back()->close());
    std::vector<OutboxRef> rung;
    ready_.take(rung);
    clients_.pop_back();
  }

  void apply(Command command) { apply_all({&command, 1}); }
  void apply_all(std::span<Command> commands) {
    processor_.begin(now_ns());
    for (Command& command : commands) processor_.apply(command);
    processor_.finish();
  }
  // Publishes to the topics of these numbers in one batch. Returns the processor's time for it.
  Clock::duration publish(const Client& from, std::span<const std::size_t> numbers,
                          std::string_view payload, bool retain) {
    std::vector<Command> commands;
    for (const std::size_t number : numbers) {
      commands.push_back(from.publish(topic_name(number), payload, retain, now_ns()));
    }
    const auto start = Clock::now();
    apply_all(commands);
    return Clock::now() - start;
  }
  static std::int64_t now_ns() { return Clock::now().time_since_epoch().count(); }

 private:
  static ProcessorLimits limits() {
    ProcessorLimits limits;
    limits.slots.count_max = 2 * kMillion;
    limits.slots.bytes_max = 4ull << 30;
    return limits;
  }

  ReadyList ready_{[] {}};
  Processor processor_;
  std::vector<std::unique_ptr<Client>> clients_;
};

// --- Subscriptions ---

// 100,000 clients with ten filters each, and one publisher. The clients are offline, so that
// routing is measured and not delivery.
struct Crowd {
  Crowd() {
    const auto client_id = [](std::size_t i) { return "client-" + std::to_string(i); };
    for (std::size_t i = 0; i < kClients; ++i) {
      broker.connect(client_id(i));
      broker.leave();
    }
    const double before = heap_bytes();
    for (std::size_t i = 0; i < kClients; ++i) {
      std::vector<std::string> filters;
      for (std::size_t f = 0; f < kFiltersPerClient; ++f) {
        filters.push_back(filter_of(i * kFiltersPerClient + f));
      }
      broker.apply(broker.connect(client_id(i)).subscribe(std::move(filters)));
      broker.leave();
    }
    subscriptions_bytes = heap_bytes() - before;
    publisher = &broker.connect("publisher");
  }

  // The time that a publish to each of these topics takes, in batches.
  double publish_ns(const std::vector<std::size_t>& numbers) {
    Clock::duration spent{};
    for (std::size_t at = 0; at < numbers.size(); at += kBatch) {
      spent += broker.publish(
          *publisher, {numbers.data() + at, std::min(kBatch, numbers.size() - at)}, "value", false);
    }
    return nanoseconds(spent) / static_cast<double>(numbers.size());
  }

  std::vector<std::size_t> next_topics(std::size_t count) {
    std::vector<std::size_t> numbers;
    for (std::size_t i = 0; i < count; ++i) {
      // A stride that is coprime to kMillion: each topic once, in an order unlike the tree's.
      numbers.push_back(cold_at * 7919 % kMillion);
      ++cold_at;
    }
    return numbers;
  }

  Broker broker;
  Client* publisher = nullptr;
  double subscriptions_bytes = 0;
  std::size_t cold_at = 0;
};

Crowd& crowd() {
  static Crowd all;
  return all;
}

double cold_publish_ns() {
  return crowd().publish_ns(crowd().next_topics(20'000));
}

double cached_publish_ns() {
  std::vector<std::size_t> numbers = crowd().next_topics(10'000);
  crowd().publish_ns(numbers);
  std::shuffle(numbers.begin(), numbers.end(), std::mt19937(1));
  return crowd().publish_ns(numbers);
}

double subscription_bytes() {
  return crowd().subscriptions_bytes / kMillion;
}

// --- Lists of clients ---

// 100,000 clients that are connected and have a subscription each, and one publisher.
struct Connected {
  Connected() {
    for (std::size_t i = 0; i < kClients; ++i) {
      const Client& client = broker.connect("client-" + std::to_string(i));
      broker.apply(client.subscribe({filter_of(i)}));
    }
    publisher = &broker.connect("publisher");
  }

  Broker broker;
  Client* publisher = nullptr;
};

Connected& connected() {
  static Connected all;
  return all;
}

// The management API's inquiry, for a page of the clients that have most waiting. Another client
// publishes one message in each batch. Returns the longest time of a batch.
double longest_batch_of_page_ms(const server::ClientQuery& query) {
  Connected& all = connected();
  std::optional<server::ClientPage> page;
  // What a query by listener picks is handed to the I/O threads; it is theirs to free it.
  std::vector<server::ClientRow> handed_out;
  const auto asker = std::make_shared<int>();
  std::vector<Command> commands;
  commands.push_back(
      {nullptr, command::Inquire{std::make_unique<server::ClientListInquiry>(
                    query, asker, [&](server::ClientPage answer) { page = std::move(answer); },
                    [&](std::vector<server::ClientRow> slice, std::uint32_t) {
                      handed_out = std::move(slice);
                    })}});
  Clock::duration longest{};
  while (!page) {
    commands.push_back(all.publisher->publish("other", "value", false, Broker::now_ns()));
    const auto start = Clock::now();
    all.broker.apply_all(commands);
    longest = std::max(longest, Clock::now() - start);
    commands.clear();
    handed_out.clear();
  }
  return nanoseconds(longest) / 1e6;
}

server::ClientQuery largest_page() {
  server::ClientQuery query;
  query.sort = server::ClientQuery::Sort::waiting;
  query.limit = server::ClientQuery::limit_max;
  return query;
}

double longest_batch_of_list_ms() {
  return longest_batch_of_page_ms(largest_page());
}

double longest_batch_by_listener_ms() {
  server::ClientQuery query = largest_page();
  query.listener = "tcp";
  return longest_batch_of_page_ms(query);
}

// --- Retained topics ---

struct Library {
  Library() {
    const std::string payload(64, 'v');
    std::vector<std::size_t> numbers(kMillion);
    std::iota(numbers.begin(), numbers.end(), 0);
    const double before = heap_bytes();
    publisher = &broker.connect("publisher");
    for (std::size_t at = 0; at < kMillion; at += kBatch) {
      broker.publish(*publisher, {numbers.data() + at, kBatch}, payload, true);
    }
    bytes = heap_bytes() - before;
  }

  Broker broker;
  Client* publisher = nullptr;
  double bytes = 0;
  std::size_t readers = 0;
};

Library& library() {
  static Library all;
  return all;
}

double retained_megabytes() {
  return library().bytes / 1e6;
}

// One client subscribes to `#` and reads at once all that it is sent, while another client
// publishes one message in each batch. Returns the longest time of a batch.
double longest_batch_ms() {
  Library& all = library();
  Client& reader = all.broker.connect("reader-" + std::to_string(all.readers++));
  all.broker.apply(reader.subscribe({"#"}));
  Clock::duration longest{};
  std::size_t received = 0;
  for (std::size_t now = kMillion; now > 0;) {
    now = 0;
    std::uint32_t bytes = 0;
    if (auto handover = reader.outbox->take()) {
      for (const HandoverItem& item : handover->deliveries) {
        const auto* delivery = boost::variant2::get_if<Delivery>(&item);
        if (delivery != nullptr && delivery->replayed) ++now;
        bytes += charge_bytes(item);
      }
      reader.outbox->recycle(std::move(handover));
    }
    received += now;
    std::vector<Command> commands;
    if (bytes > 0) commands.push_back(reader.drained(bytes));
    commands.push_back(all.publisher->publish("other", "value", false, Broker::now_ns()));
    const auto start = Clock::now();
    all.broker.apply_all(commands);
    longest = std::max(longest, Clock::now() - start);
  }
  all.broker.leave();
  if (received < kMillion) std::fprintf(stderr, "only %zu retained values arrived\n", received);
  return nanoseconds(longest) / 1e6;
}

Rival goal(double figure) {
  return {"goal", {}, 1.0, figure};
}

const bool added = add_comparison({"broker: publish among 1 M subscriptions, match cached",
                                   "ns",
                                   Better::lower,
                                   cached_publish_ns,
                                   {goal(1000)}}) &&
                   add_comparison({"broker: publish among 1 M subscriptions, topic never seen",
                                   "ns",
                                   Better::lower,
                                   cold_publish_ns,
                                   {goal(10'000)}}) &&
                   add_comparison({"broker: 1 M subscriptions of 100 k clients, each",
                                   "bytes",
                                   Better::lower,
                                   subscription_bytes,
                                   {goal(200)}}) &&
                   add_comparison({"broker: longest batch while 100 k clients are listed",
                                   "ms",
                                   Better::lower,
                                   longest_batch_of_list_ms,
                                   {goal(2)}}) &&
                   add_comparison({"broker: longest batch while 100 k are listed by listener",
                                   "ms",
                                   Better::lower,
                                   longest_batch_by_listener_ms,
                                   {goal(2)}}) &&
                   add_comparison({"broker: 1 M retained topics with 64-byte payloads",
                                   "MB",
                                   Better::lower,
                                   retained_megabytes,
                                   {goal(250)}}) &&
                   add_comparison({"broker: longest batch while a client of # is given them all",
                                   "ms",
                                   Better::lower,
                                   longest_batch_ms,
                                   {goal(5)}});

}  // namespace
}  // namespace millrace::bench
