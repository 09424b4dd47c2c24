// A processor without sockets: peers that speak to it in commands and read their hand-overs.
#pragma once

#include <cassert>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/broker/processor.hpp"
#include "protocol/decode.hpp"
#include "protocol/frame.hpp"
#include "tests/broker/memory_log.hpp"

namespace millrace::broker {

inline Message message(std::string_view topic, std::string_view payload, int qos = 0,
                       bool retain = false, std::uint16_t packet_id = 0, std::int64_t now_ns = 1,
                       protocol::Version version = protocol::Version::v3_1_1) {
  MessageParts parts;
  parts.topic = topic;
  parts.payload = {reinterpret_cast<const std::uint8_t*>(payload.data()), payload.size()};
  parts.qos = static_cast<std::uint8_t>(qos);
  parts.retain = retain;
  parts.packet_id = packet_id;
  parts.version = version;
  return build_message(parts, now_ns);
}

// The payload.
inline std::string text_of(const Message& message) {
  const auto payload = message.payload();
  return {payload.begin(), payload.end()};
}

inline Command publish_command(Message message, Outbox* outbox = nullptr) {
  const std::uint32_t bytes = message.packet_bytes;
  return {outbox, command::Publish{std::move(message), bytes}};
}

// A publish with a Response Topic: never conflated.
inline Command request(std::string_view topic, std::string_view payload, std::int64_t now_ns) {
  static constexpr std::uint8_t response_topic[] = {0x08, 0, 1, 'r'};
  MessageParts parts;
  parts.topic = topic;
  parts.payload = {reinterpret_cast<const std::uint8_t*>(payload.data()), payload.size()};
  parts.properties.bytes = response_topic;
  return publish_command(build_message(parts, now_ns));
}

// A `latest` subscription with a rate limit.
inline SubscriptionRequest limited(std::string filter, std::uint32_t interval_ms = 100) {
  SubscriptionRequest wanted;
  wanted.name = wanted.filter = std::move(filter);
  wanted.mode = Mode::latest;
  wanted.shape = rate_limit(interval_ms);
  return wanted;
}

// One received PUBLISH.
struct Got {
  std::string topic;
  std::string payload;
  int qos = 0;
  bool retain = false;
  bool duplicate = false;
  bool replayed = false;
  std::uint16_t packet_id = 0;
  std::vector<std::uint32_t> identifiers;
  std::vector<std::uint8_t> unchanged;  // the packet, if it passed as it came in
};

class World;

// One connection.
class Peer : public OutboxOwner {
 public:
  Peer(World& world, std::string client_id, protocol::Version version);
  ~Peer() { outbox->forget_owner(); }

  void on_outbox_ready() override {}

  Peer& connect(bool clean = true, std::uint32_t expiry_s = 0,
                std::optional<ConnectRequest::Will> will = {});
  Peer& subscribe(std::string filter, int qos = 0, Mode mode = Mode::adaptive);
  Peer& subscribe(SubscriptionRequest wanted, std::uint32_t identifier = 0);
  Peer& unsubscribe(std::string name);
  Peer& publish(std::string_view topic, std::string_view payload, int qos = 0, bool retain = false);
  Peer& close(protocol::ReasonCode reason = protocol::ReasonCode::unspecified_error);
  void send(command::Body body);
  // PUBACK, PUBREC, PUBREL or PUBCOMP.
  void acknowledge(protocol::PacketType type, std::uint16_t packet_id);

  // Takes what was handed over; nothing is reported as drained yet.
  void take();
  void receive(const Delivery& delivery);
  void receive(const PacketRun& packets);
  // Takes and reports everything as written.
  Peer& read();
  // `late_credit`: what may be bound from then on, as for a connection that binds late.
  void report_drained(bool blocked = false,
                      std::optional<std::uint32_t> late_credit = std::nullopt);

  World& world;
  std::string client_id;
  OutboxRef outbox;
  std::uint16_t receive_maximum = 65535;
  std::uint32_t packet_bytes_max = 0;
  RightsRef rights;          // by which it connects and subscribes
  std::uint16_t origin = 0;  // of a link to another broker; see ConnectRequest
  bool peer_forgot = false;
  std::optional<QueueLimits> queue;
  std::shared_ptr<SpoolFigures> figures;
  std::optional<bool> session_present;
  bool is_open = false;  // `connect` was sent, `close` was not
  std::optional<protocol::ReasonCode> closed;
  std::vector<Got> got;
  std::vector<protocol::Packet> control;
  std::uint32_t undrained_bytes = 0;
  bool told_late_credit = false;  // with the last report
  std::uint64_t handed_over_bytes = 0;
  std::uint16_t next_packet_id = 1;

  std::vector<std::string> payloads() const {
    std::vector<std::string> result;
    for (const Got& one : got) result.push_back(one.payload);
    return result;
  }
};

class World {
 public:
  explicit World(ProcessorLimits with = {}) : limits(with), processor(with) {}
  // The processor holds an outbox until it applied the close.
  ~World();

  // Not inlined: GCC 12 then takes the alternatives that a command has not for uninitialized reads.
  [[gnu::noinline]] void gather(Command&& command) { gathered->push_back(std::move(command)); }
  void apply(Command command) {
    if (gathered != nullptr) return gather(std::move(command));
    if (!in_batch_) processor.begin(now_ns, unix_ns());
    in_batch_ = true;
    processor.apply(command);
    if (!joins || !joins()) end_batch();
  }
  void end_batch() {
    if (std::exchange(in_batch_, false)) processor.finish();
    if (log && (!commits || commits())) commit();
  }
  bool in_batch() const { return in_batch_; }
  void run_until_idle() {
    end_batch();
    do {
      processor.begin(now_ns, unix_ns());
      processor.finish();
    } while (processor.has_more());
    if (log && (!commits || commits())) commit();
  }

  // --- With a store ---

  std::uint64_t unix_ns() const { return static_cast<std::uint64_t>(now_ns) + epoch_ns; }
  // From now on; before anything else.
  void open_store(const Journal::Options& options = {}) {
    log.emplace();
    restore(0, nullptr, options);
  }
  // The disk has everything that was appended up to that batch, and the processor is told so.
  void commit(std::uint64_t number) {
    if (number <= log->committed) return;
    log->committed = number;
    tell_committed(number);
  }
  void tell_committed(std::uint64_t number) {
    processor.begin(now_ns, unix_ns());
    Command command{nullptr, command::Committed{number}};
    processor.apply(command);
    processor.finish();
  }
  // Instead of open_store(): with what another store holds, to which changes go from now on.
  void start_with(const store::State& found, store::CommitLog& to, std::uint64_t last_number,
                  const Journal::Options& options = {}) {
    processor.begin_restore(nullptr, now_ns, unix_ns());
    restore(found);
    restored = processor.finish_restore(to, last_number, options);
  }
  void commit() { commit(log->appended()); }
  // The process is killed, and another one starts `down_ns` later, with the batches that the disk
  // has: those that were committed, or as many more as `number` says.
  void restart(std::int64_t down_ns = 0, std::shared_ptr<const Authority> authority = {},
               std::uint64_t number = 0, const Journal::Options& options = {}) {
    number = std::max(number, log->committed);
    log->frozen = true;
    end_batch();
    for (auto& peer : peers) {
      if (peer->is_open) peer->close();
    }
    end_batch();
    std::destroy_at(&processor);
    std::construct_at(&processor, limits);
    now_ns += down_ns;
    log->go_on_after(number);
    log->committed = number;
    restore(number, std::move(authority), options);
  }
  // The process ends and writes then what is to outlive it (Processor::write_state); another one
  // starts with that. Without open_store().
  void end_and_restart(std::int64_t down_ns = 0, std::shared_ptr<const Authority> authority = {},
                       bool newest_values = false) {
    end_batch();
    store::Batch written;
    std::optional<std::tuple<std::uint8_t, std::uint64_t, std::string>> last;
    bool rises = true;
    processor.write_state(now_ns, unix_ns(), newest_values, [&](const store::Record& record) {
      const store::Key& key = record.key;
      std::tuple next(key.space, key.group, std::string(key.rest));
      rises = rises && (!last || *last < next);
      last = std::move(next);
      written.put(key, record.value, record.body);
    });
    assert(rises);
    static_cast<void>(rises);
    for (auto& peer : peers) {
      if (peer->is_open) peer->close();
    }
    end_batch();
    std::destroy_at(&processor);
    std::construct_at(&processor, limits);
    now_ns += down_ns;
    processor.begin_restore(std::move(authority), now_ns, unix_ns());
    store::RecordReader reader(written.bytes());
    for (store::Record record; reader.next(record);) processor.restore(record);
    restored = processor.finish_restore();
  }
  void advance_ms(std::int64_t ms) {
    end_batch();
    now_ns += ms * 1'000'000;
    run_until_idle();
  }
  Peer& peer(std::string client_id, protocol::Version version = protocol::Version::v3_1_1) {
    peers.push_back(std::make_unique<Peer>(*this, std::move(client_id), version));
    return *peers.back();
  }
  // Begins; it is over when `done` was called.
  void review(std::shared_ptr<const Authority> authority, std::function<void()> done = {}) {
    auto request = std::make_unique<ReviewRequest>();
    request->authority = std::move(authority);
    request->done = std::move(done);
    apply({nullptr, command::Review{std::move(request)}});
  }

  std::int64_t now_ns = 1'000'000'000;
  ReadyList ready{[] {}};
  ProcessorLimits limits;  // of the processor, and of the one that is there after a restart
  Processor processor;
  std::vector<std::unique_ptr<Peer>> peers;
  std::optional<MemoryLog> log;
  // Whether the disk has finished at the end of a batch; unset: always.
  std::function<bool()> commits;
  RestoreFigures restored;
  std::uint64_t epoch_ns = 1'700'000'000'000'000'000;
  // Where commands go that the test brings to the processor by itself; null: they are applied at once.
  std::vector<Command>* gathered = nullptr;
  // Whether what comes next joins the batch of the command that was just applied; unset: never.
  std::function<bool()> joins;

 private:
  void restore(std::uint64_t number, std::shared_ptr<const Authority> authority,
               const Journal::Options& options) {
    processor.begin_restore(std::move(authority), now_ns, unix_ns());
    restore(log->state(number));
    restored = processor.finish_restore(*log, number, options);
  }
  void restore(const store::State& state) {
    for (const auto& [key, value] : state) {
      store::Record record;
      record.key = {static_cast<std::uint8_t>(std::get<0>(key)), std::get<1>(key),
                    std::get<2>(key)};
      record.value = value.first;
      record.body = value.second;
      processor.restore(record);
    }
  }

  bool in_batch_ = false;
};

inline Peer::Peer(World& world_in, std::string id, protocol::Version version)
    : world(world_in), client_id(std::move(id)), outbox(new Outbox(world_in.ready, *this)) {
  outbox->version = version;
}

inline World::~World() {
  for (auto& peer : peers) {
    if (peer->is_open) peer->close();
  }
  end_batch();
}

inline Peer& Peer::connect(bool clean, std::uint32_t expiry_s,
                           std::optional<ConnectRequest::Will> will) {
  auto request = std::make_unique<ConnectRequest>();
  request->client_id = client_id;
  request->version = outbox->version;
  request->clean_start = clean;
  request->session_expiry_s = expiry_s;
  request->receive_maximum = receive_maximum;
  request->packet_bytes_max = packet_bytes_max;
  request->will = std::move(will);
  request->rights = rights;
  request->origin = origin;
  request->peer_forgot = peer_forgot;
  request->queue = queue;
  request->figures = figures;
  is_open = true;
  send(command::Connect{std::move(request)});
  return *this;
}

inline Peer& Peer::subscribe(std::string filter, int qos, Mode mode) {
  SubscriptionRequest wanted;
  wanted.name = mode == Mode::latest ? "$latest/" + filter : filter;
  wanted.filter = std::move(filter);
  wanted.qos = static_cast<std::uint8_t>(qos);
  wanted.mode = mode;
  return subscribe(std::move(wanted));
}

inline Peer& Peer::subscribe(SubscriptionRequest wanted, std::uint32_t identifier) {
  auto request = std::make_unique<SubscribeRequest>();
  request->packet_id = next_packet_id++;
  request->identifier = identifier;
  if (rights) request->rights_revision = rights->revision;
  request->filters.push_back(std::move(wanted));
  send(command::Subscribe{std::move(request)});
  return *this;
}

inline Peer& Peer::unsubscribe(std::string name) {
  auto request = std::make_unique<UnsubscribeRequest>();
  request->packet_id = next_packet_id++;
  request->names.push_back(std::move(name));
  send(command::Unsubscribe{std::move(request)});
  return *this;
}

inline Peer& Peer::publish(std::string_view topic, std::string_view payload, int qos, bool retain) {
  const auto packet_id = qos > 0 ? next_packet_id++ : std::uint16_t{0};
  world.apply(
      publish_command(message(topic, payload, qos, retain, packet_id, world.now_ns), outbox.get()));
  return *this;
}

inline Peer& Peer::close(protocol::ReasonCode reason) {
  is_open = false;
  send(command::Close{reason, {}});
  return *this;
}

inline void Peer::send(command::Body body) {
  world.apply({outbox.get(), std::move(body)});
}

inline void Peer::acknowledge(protocol::PacketType type, std::uint16_t packet_id) {
  if (type == protocol::PacketType::puback) return send(command::Puback{packet_id, {}});
  if (type == protocol::PacketType::pubrec) return send(command::Pubrec{packet_id, {}});
  if (type == protocol::PacketType::pubrel) return send(command::Pubrel{packet_id, {}});
  send(command::Pubcomp{packet_id, {}});
}

inline void Peer::take() {
  world.end_batch();
  std::unique_ptr<Handover> handover = outbox->take();
  if (!handover) return;
  if (handover->connected) session_present = handover->connected->session_present;
  std::span<const std::uint8_t> bytes(handover->control.bytes());
  while (!bytes.empty()) {
    const auto frame = **protocol::frame(bytes, protocol::packet_bytes_limit, outbox->version);
    control.push_back(*protocol::decode(frame, bytes, outbox->version, protocol::Sender::server));
    bytes = bytes.subspan(frame.packet_bytes);
  }
  for (const HandoverItem& item : handover->deliveries) {
    undrained_bytes += charge_bytes(item);
    handed_over_bytes += charge_bytes(item);
    boost::variant2::visit([this](const auto& one) { receive(one); }, item);
  }
  if (handover->close) closed = handover->close;
  outbox->recycle(std::move(handover));
}

inline void Peer::receive(const Delivery& delivery) {
  const auto payload = delivery.message.payload();
  Got one;
  one.topic = delivery.message.topic();
  one.payload.assign(payload.begin(), payload.end());
  one.qos = delivery.qos;
  one.retain = delivery.retain;
  one.duplicate = delivery.duplicate;
  one.replayed = delivery.replayed;
  one.packet_id = delivery.packet_id;
  if (delivery.identifiers) one.identifiers = delivery.identifiers->values;
  got.push_back(std::move(one));
}

inline void Peer::receive(const PacketRun& packets) {
  std::span<const std::uint8_t> run = packets.packets();
  for (std::uint32_t i = 0; i < packets.count; ++i) {
    const auto frame = **protocol::frame(run, protocol::packet_bytes_limit, outbox->version);
    const auto view = *protocol::decode_publish(frame, run.first(frame.packet_bytes),
                                                outbox->version, protocol::Sender::server);
    Got one;
    one.topic = view.topic;
    one.payload.assign(view.payload.begin(), view.payload.end());
    one.retain = view.retain;
    one.duplicate = view.dup;
    one.unchanged.assign(run.begin(), run.begin() + frame.packet_bytes);
    got.push_back(std::move(one));
    run = run.subspan(frame.packet_bytes);
  }
}

inline void Peer::report_drained(bool blocked, std::optional<std::uint32_t> late_credit) {
  if (undrained_bytes == 0 && !late_credit && !told_late_credit) return;
  told_late_credit = late_credit.has_value();
  send(command::Drained{std::exchange(undrained_bytes, 0), blocked, late_credit});
}

inline Peer& Peer::read() {
  do {
    world.run_until_idle();
    take();
    report_drained();
    take();
  } while (undrained_bytes > 0);
  return *this;
}

inline std::uint64_t dropped(const World& world, Drop why) {
  return world.processor.stats().dropped[static_cast<std::size_t>(why)].value();
}

}  // namespace millrace::broker
