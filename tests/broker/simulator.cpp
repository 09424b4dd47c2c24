#include "tests/broker/simulator.hpp"

#include <algorithm>
#include <utility>

#include "protocol/topic.hpp"

namespace millrace::broker {

using protocol::PacketType;
using protocol::ReasonCode;

namespace {

constexpr std::uint32_t session_expiry_s = 1'000'000;  // longer than any run
constexpr std::uint32_t client_count = 6;
constexpr std::uint32_t rate_interval_ms = 500;

// A publish is a JSON array: its number; what change filters compare; padding. Others are a number.
std::uint64_t number_of(const std::string& payload) {
  return std::stoull(payload.starts_with('[') ? payload.substr(1) : payload);
}

ProcessorLimits limits_for(const SimulatorOptions& options) {
  ProcessorLimits limits;
  limits.credit_bytes = 2000;
  limits.credit_max_bytes = 8000;
  limits.credit_latest_bytes = 300;
  limits.adaptive_backlog_bytes = 4000;
  limits.snapshot_topics_per_batch = 3;
  limits.timers_per_batch = 2;
  limits.removals_per_batch = 2;
  limits.receive_maximum = 65535;
  limits.user_bytes = 1 << 30;              // counted, and out of reach
  limits.history.depth = options.seed % 4;  // none in the first of them
  if (options.small_limits) {
    limits.queue_messages = 8;
    limits.queue_bytes = 600;
    limits.slots.count_max = 6;
    limits.history.bytes_max = 1500;
    limits.overflow = options.seed % 2 == 0 ? Overflow::drop_oldest : Overflow::drop_newest;
  }
  return limits;
}

}  // namespace

Simulator::Simulator(SimulatorOptions options)
    : options_(options), random_(options.seed), limits_(limits_for(options)), world_(limits_) {
  for (std::uint32_t i = 0; i < client_count; ++i) {
    Client client;
    client.id = "client" + std::to_string(i);
    client.v5 = i % 2 == 1;
    // A store knows no rules: after a restart they come from the users' rights.
    const bool has_rules = !options_.restarts || options_.users;
    if (has_rules && i % 3 == 1) client.denied = "a/0";
    if (has_rules && i % 3 == 2) client.denied = "+/1";
    clients_.push_back(std::move(client));
  }
  if (options_.users) reload();
  if (options_.restarts && !options_.stores_at_end) {
    world_.open_store({.renumber_at = 20});
    world_.commits = [this] { return chance(30); };
  }
  watcher_ = &world_.peer("watcher").connect().subscribe("status/#", 0, Mode::every);
  world_.joins = [this] { return chance(60); };
}

std::string Simulator::topic() {
  static const char* first[] = {"a", "b", "$x"};
  return std::string(first[pick(3)]) + "/" + std::to_string(pick(3));
}

std::string Simulator::filter() {
  static const char* filters[] = {"#", "a/#", "+/1", "a/0", "b/2", "$x/#", "a/+", "b/#"};
  return filters[pick(8)];
}

bool Simulator::may_read(const Client& client, std::string_view topic) {
  return client.denied.empty() || !protocol::matches(client.denied, topic);
}

std::string Simulator::run() {
  for (int i = 0; i < options_.steps && fault_.empty(); ++i) {
    step();
    check();
  }
  settle();
  if (fault_.empty()) check_end();
  if (fault_.empty()) return {};
  return fault_ + " (seed " + std::to_string(options_.seed) + ")";
}

void Simulator::step() {
  ++steps_;
  if (options_.users && steps_ % 40 == 0) return reload();
  Client& client = clients_[pick(client_count)];
  if (options_.users && steps_ % 15 == 0) return intrude(client);
  if (options_.restarts && steps_ % 50 == 0) return restart();
  const std::uint32_t dice = pick(100);
  if (dice < 55) return publish();
  if (dice < 57) return publish_stale();
  if (dice < 60) return world_.advance_ms(pick(2000));
  if (client.peer != nullptr && chance(5)) return publish_qos2(client);
  if (client.peer == nullptr) return connect(client);
  if (dice < 62) return connect(client);  // a takeover
  if (dice < 65) return vanish(client);
  if (dice < 71) return subscribe(client);
  if (dice < 73) return unsubscribe(client);
  if (dice < 90) return read(client, false);
  acknowledge(client, false);
}

void Simulator::connect(Client& client) {
  const bool clean = chance(25);
  const bool existed = world_.processor.find_session(client.id) != nullptr;
  Peer* const old = client.peer;
  if (old != nullptr) ghosts_.push_back(old);
  // A session that does not outlive its connection ends with a takeover, too.
  if (clean || (old != nullptr && !client.persistent)) forget_session(client);
  client.persistent = chance(70);
  Peer& peer = new_peer(client);
  peer.receive_maximum = static_cast<std::uint16_t>(1 + pick(8));
  client.to_acknowledge.clear();
  client.unsettled.clear();
  client.newest_owed.clear();  // QoS 0 is not kept for the absent
  client.snapshots_owed.clear();
  // What ends the old life comes before what the new one says first.
  const std::string status = "status/" + client.id;
  const std::uint64_t begins = ++client.lives * 2 - 1;
  peer.connect(clean, client.persistent ? session_expiry_s : 0,
               ConnectRequest::Will{message(status, std::to_string(begins + 1)), 0});
  peer.publish(status, std::to_string(begins));
  client.peer = &peer;
  if (old != nullptr) {
    old->take();
    const bool welcomed = old->session_present.has_value();  // else its CONNACK waits for the store
    const auto why = welcomed ? ReasonCode::session_taken_over : ReasonCode::server_unavailable;
    if (old->closed != why) fail("a takeover did not end the old");
  }
  if (!existed && !clean && !client.filters.empty()) fail("a persistent session was lost");
}

Peer& Simulator::new_peer(const Client& client) {
  Peer& peer =
      world_.peer(client.id, client.v5 ? protocol::Version::v5 : protocol::Version::v3_1_1);
  if (users_) peer.rights = users_->rights_of(client.id);
  // One is a link to another broker, one a reader of events: the same is promised to them.
  if (&client == &clients_.front()) {
    peer.origin = 1;
    peer.peer_forgot = chance(30);
  }
  peer.outbox->wants_sequence = &client == &clients_.back();
  return peer;
}

// Another user names the client's session, which must not notice.
void Simulator::intrude(Client& client) {
  if (world_.processor.find_session(client.id) == nullptr) return;
  Peer& stranger = world_.peer(client.id, protocol::Version::v5);
  stranger.rights = users_->rights_of("stranger");
  stranger.connect(chance(50), session_expiry_s).subscribe("#").publish("a/0", "stale");
  stranger.take();
  if (stranger.closed != ReasonCode::client_identifier_not_valid) fail("a stranger came in");
  if (!stranger.got.empty()) fail("a stranger got something");
  stranger.close();
}

// One client may read something else from now on. What was bound before has been sent.
void Simulator::reload() {
  world_.run_until_idle();
  if (world_.log) world_.commit();  // what waits for the store is bound, too
  for (Client& client : clients_) {
    if (client.peer != nullptr) take(client);
  }
  static const char* choices[] = {"", "a/0", "+/1", "a/#"};
  if (users_) clients_[pick(client_count)].denied = choices[pick(4)];
  std::map<std::string, User> all{{"stranger", {}}};
  for (Client& client : clients_) {
    std::vector<TopicRule> rules;
    if (!client.denied.empty()) rules.push_back(deny(client.denied));
    all[client.id] = {std::move(rules)};
    forget_denied(client);
  }
  users_ = std::make_shared<const Users>(std::move(all));
  bool done = false;
  world_.review(users_, [&done] { done = true; });
  world_.run_until_idle();
  if (!done) fail("a review did not end");
}

// Everything is on the disk by then: the model knows no other end.
void Simulator::restart() {
  world_.end_batch();
  if (options_.stores_at_end) {
    world_.end_and_restart(pick(3000) * 1'000'000, users_);
  } else {
    world_.processor.close_journal();
    world_.commit();
    world_.restart(pick(3000) * 1'000'000, users_, world_.log->appended(), {.renumber_at = 20});
  }
  ghosts_.clear();
  for (Client& client : clients_) {
    client.peer = nullptr;
    client.snapshots_owed.clear();
    // What waits for a link to another broker is not kept.
    if (!client.persistent || &client == &clients_.front()) forget_session(client);
  }
  watcher_ = &world_.peer("watcher").connect().subscribe("status/#", 0, Mode::every);
}

void Simulator::forget_denied(Client& client) {
  client.newest_owed.clear();  // which values are owed to the end may have changed
  if (client.denied.empty()) return;
  std::erase_if(client.filters, [&](const auto& one) {
    const bool denied = protocol::covers(client.denied, one.second.filter);
    if (denied) client.snapshots_owed.erase(one.first);
    return denied;
  });
  for (auto& [name, owed] : client.snapshots_owed) {
    std::erase_if(owed, [&](const auto& one) { return !may_read(client, one.first); });
  }
  std::erase_if(client.owed,
                [&](std::uint64_t number) { return !may_read(client, topics_[number - 1]); });
}

void Simulator::forget_session(Client& client) {
  client.filters.clear();
  client.snapshots_owed.clear();
  client.has_shared = false;
  client.owed.clear();
  client.last_seen.clear();
  client.received_qos2.clear();
  client.awaits_pubrel.clear();
}

void Simulator::vanish(Client& client) {
  client.peer->close(chance(50) ? ReasonCode::normal_disconnection : ReasonCode::unspecified_error);
  client.peer = nullptr;
  client.snapshots_owed.clear();  // what it did not read is gone with its connection, at QoS 0
  if (!client.persistent) forget_session(client);
}

// A budget is so small that it is used up all the time.
ShapeRef Simulator::any_shape(Mode mode) {
  ShapeFields fields;
  if (mode == Mode::latest && chance(40)) fields.interval_ms = rate_interval_ms;
  if (mode == Mode::latest && chance(40)) {
    fields.field = "/1";
    fields.heartbeat_s = pick(2);
    fields.changes = Changes::unequal;
    if (fields.heartbeat_s != 0 && chance(50)) {
      fields.changes = chance(50) ? Changes::by : Changes::by_percent;
      fields.delta = fields.changes == Changes::by ? 2 : 60;
    }
  }
  if (mode == Mode::latest && chance(30)) fields.weight = 1 + pick(weight_max);
  if (chance(20)) fields.budget_bytes_per_s = 500 + pick(3000);
  if (chance(20)) fields.tick_ms = 50 + pick(300);
  return make_shape(fields);
}

void Simulator::subscribe(Client& client) {
  SubscriptionRequest wanted;
  wanted.filter = filter();
  if (!client.denied.empty()) {
    if (protocol::covers(client.denied, wanted.filter)) return;
    wanted.rules = std::make_shared<const TopicRules>(
        std::vector<TopicRule>{{false, client.denied}}, /*otherwise_allow=*/true);
  }
  wanted.qos = static_cast<std::uint8_t>(pick(3));
  const std::uint32_t kind = pick(10);
  wanted.mode = kind < 4 ? Mode::every : kind < 7 ? Mode::adaptive : Mode::latest;
  wanted.name = (wanted.mode == Mode::latest ? "$latest/" : "") + wanted.filter;
  if (wanted.mode == Mode::latest) wanted.qos = std::min<std::uint8_t>(wanted.qos, 1);
  wanted.shape = any_shape(wanted.mode);
  if (chance(30)) wanted.history = 1 + pick(3);
  if (kind == 0) {
    wanted.share_group = "g";
    client.has_shared = true;
    wanted.name = "$share/g/" + wanted.filter;
  }
  // A client that names its subscriptions gets a copy for each; one that does not gets one.
  client.peer->subscribe(wanted, client.v5 ? 1 + pick(2) : 0);
  const bool drops_unchanged =
      wanted.shape && wanted.shape->filters() && wanted.shape->heartbeat_s == 0;
  client.filters[wanted.name] = {wanted.filter,   wanted.qos,
                                 wanted.mode,     !wanted.share_group.empty(),
                                 drops_unchanged, number_};
  auto& owed = client.snapshots_owed[wanted.name];
  owed.clear();
  if (wanted.mode != Mode::latest && wanted.share_group.empty()) {
    for (const auto& [name, numbers] : retained_) {
      if (numbers.empty()) continue;
      if (!protocol::matches(wanted.filter, name) || !may_read(client, name)) continue;
      owed[name] = *numbers.rbegin();
    }
  }
  // Which values are owed to the end depends on the mode, which may just have changed.
  client.newest_owed.clear();
}

void Simulator::unsubscribe(Client& client) {
  if (client.filters.empty()) return;
  const auto chosen =
      std::next(client.filters.begin(),
                static_cast<long>(pick(static_cast<std::uint32_t>(client.filters.size()))));
  client.peer->unsubscribe(chosen->first);
  client.snapshots_owed.erase(chosen->first);
  client.filters.erase(chosen);
  client.newest_owed.clear();
}

void Simulator::publish() {
  const std::string name = topic();
  const bool is_request = options_.requests && chance(15);
  const int qos = is_request ? 0 : static_cast<int>(pick(3));
  const bool retain = !is_request && chance(20);
  ++number_;
  topics_.push_back(name);
  values_.push_back(pick(4));
  newest_[name] = number_;
  if (retain) retained_[name].insert(number_);
  for (Client& client : clients_) {
    if (!may_read(client, name)) continue;
    bool every = false;
    bool matched = false;
    int granted = 0;
    for (const auto& [key, one] : client.filters) {
      if (one.sharing || !protocol::matches(one.filter, name)) continue;
      matched = true;
      granted = std::max(granted, std::min(one.qos, qos));
      every |= one.mode == Mode::every;
    }
    if (every && granted > 0) client.owed.insert(number_);
    if (matched && client.peer != nullptr) client.newest_owed[name] = number_;
  }
  if (is_request) return world_.apply(request(name, std::to_string(number_), world_.now_ns));
  const std::string payload = "[" + std::to_string(number_) + "," + std::to_string(values_.back()) +
                              ",\"" + std::string(pick(60), '.') + "\"]";
  world_.apply(
      publish_command(message(name, payload, qos, retain, qos > 0 ? 1 : 0, world_.now_ns,
                              chance(50) ? protocol::Version::v5 : protocol::Version::v3_1_1)));
}

// To a topic that nobody reads: what counts is what is kept until PUBREL.
void Simulator::publish_qos2(Client& client) {
  const auto packet_id = static_cast<std::uint16_t>(1 + pick(10));
  if (chance(40)) return client.peer->acknowledge(PacketType::pubrel, packet_id);
  world_.apply(publish_command(message("$own/" + client.id, "x", 2, false, packet_id),
                               client.peer->outbox.get()));
}

// Whatever a connection still says after its session was taken over must have no effect.
void Simulator::publish_stale() {
  if (ghosts_.empty()) return;
  Peer& ghost = *ghosts_[pick(static_cast<std::uint32_t>(ghosts_.size()))];
  switch (pick(4)) {
    case 0:
      ghost.publish("a/0", "stale", static_cast<int>(pick(3)));
      break;
    case 1:
      ghost.subscribe("#", 2, Mode::every);
      break;
    case 2:
      ghost.send(command::Puback{static_cast<std::uint16_t>(1 + pick(5)), {}});
      break;
    default:
      ghost.close();
      std::erase(ghosts_, &ghost);
  }
}

void Simulator::read(Client& client, bool acknowledge_all) {
  take(client);
  if (!fault_.empty()) return;
  if (!chance(70) && !acknowledge_all) return;
  std::optional<std::uint32_t> late_credit;
  // None is without it for good, and none is told more than any connection may have.
  if (chance(30) && !acknowledge_all) late_credit = pick(limits_.credit_max_bytes + 1);
  client.peer->report_drained(/*blocked=*/chance(30), late_credit);
}

void Simulator::take(Client& client) {
  Peer& peer = *client.peer;
  const std::size_t control_before = peer.control.size();
  peer.take();
  if (peer.closed) return fail("an honest client was disconnected");
  for (std::size_t i = control_before; i < peer.control.size(); ++i) {
    if (const auto* pubrel = std::get_if<protocol::Pubrel>(&peer.control[i])) {
      client.to_acknowledge.emplace_back(PacketType::pubcomp, pubrel->packet_id);
    }
  }
  const std::vector<Got> got = std::exchange(peer.got, {});
  for (const Got& one : got) receive(client, one);
}

void Simulator::receive(Client& client, const Got& got) {
  if (got.payload == "stale") return fail("a stale connection published");
  if (!may_read(client, got.topic)) return fail("a denied topic came through: " + got.topic);
  if (got.topic.starts_with("status/")) return;  // the watcher's
  const std::uint64_t number = number_of(got.payload);
  std::uint64_t& newest_seen = client.newest_seen[got.topic];
  newest_seen = std::max(newest_seen, number);
  if (got.qos > 0) {
    if (got.packet_id == 0) return fail("QoS without a packet identifier");
    if (!got.duplicate && !client.unsettled.insert(got.packet_id).second) {
      return fail("a packet identifier was used twice");
    }
    client.unsettled.insert(got.packet_id);
    if (client.unsettled.size() > client.peer->receive_maximum) {
      return fail("beyond the Receive Maximum");
    }
    client.to_acknowledge.emplace_back(got.qos == 1 ? PacketType::puback : PacketType::pubrec,
                                       got.packet_id);
    if (got.qos == 2 && !client.awaits_pubrel.insert(got.packet_id).second) return;  // again
  }
  client.owed.erase(number);
  receive_snapshot(client, got, number);
  const auto owed = client.newest_owed.find(got.topic);
  if (owed != client.newest_owed.end() && owed->second == number) client.newest_owed.erase(owed);
  // Redelivery repeats, and a stored value may be older than what was seen before; all else keeps
  // the order of its topic.
  if (got.duplicate || got.replayed) return;
  // QoS 2 waits for the store, and is overtaken by what does not.
  const bool apart = options_.restarts && got.qos == 2;
  std::uint64_t& last = client.last_seen[apart ? got.topic + " at QoS 2" : got.topic];
  if (number < last && !client.has_shared) {
    return fail("order: topic " + got.topic + " got " + std::to_string(number) + " after " +
                std::to_string(last) + " at " + client.id);
  }
  last = std::max(last, number);
}

// The newest value of the topic is what it has seen last, by what its filter compares.
bool Simulator::is_spared(const Client& client, const std::string& topic) const {
  const auto seen = client.newest_seen.find(topic);
  if (seen == client.newest_seen.end()) return false;
  if (values_[seen->second - 1] != values_[newest_.at(topic) - 1]) return false;
  return std::ranges::any_of(client.filters, [&](const auto& one) {
    return one.second.drops_unchanged && protocol::matches(one.second.filter, topic);
  });
}

void Simulator::receive_snapshot(Client& client, const Got& got, std::uint64_t number) {
  const std::set<std::uint64_t>& retained = retained_[got.topic];
  for (auto& [name, owed] : client.snapshots_owed) {
    const auto found = owed.find(got.topic);
    if (found == owed.end()) continue;
    const auto later = retained.upper_bound(found->second);
    const bool replaced = later != retained.end() && *later <= number;
    if (number == found->second || replaced) owed.erase(found);
  }
}

void Simulator::watch() {
  watcher_->take();
  for (const Got& got : std::exchange(watcher_->got, {})) {
    std::uint64_t& last = watched_[got.topic];
    const std::uint64_t now = std::stoull(got.payload);
    if (now <= last) fail(got.topic + " said " + got.payload + " after " + std::to_string(last));
    last = now;
  }
  watcher_->control.clear();
  watcher_->report_drained();
}

void Simulator::acknowledge(Client& client, bool all) {
  std::size_t count = all ? client.to_acknowledge.size()
                          : pick(static_cast<std::uint32_t>(client.to_acknowledge.size() + 1));
  while (count-- > 0 && !client.to_acknowledge.empty()) {
    const auto [type, packet_id] = client.to_acknowledge.front();
    client.to_acknowledge.erase(client.to_acknowledge.begin());
    if (type != PacketType::pubrec) {
      client.unsettled.erase(packet_id);
      client.awaits_pubrel.erase(packet_id);
    }
    client.peer->acknowledge(type, packet_id);
  }
}

// Everybody comes back, reads and acknowledges until nothing moves any more, and nothing comes of
// waiting.
void Simulator::settle() {
  world_.commits = nullptr;
  for (Client& client : clients_) {
    if (!fault_.empty()) return;
    if (client.peer == nullptr && world_.processor.find_session(client.id) != nullptr) {
      Peer& peer = new_peer(client);
      client.to_acknowledge.clear();
      client.unsettled.clear();
      client.newest_owed.clear();
      peer.connect(false, session_expiry_s);
      client.peer = &peer;
    }
  }
  // For what rate limits, heartbeats, ticks and budgets hold back, one after the other: what the first
  // lets go may have to wait for the next.
  constexpr int waits_max = 4;
  int waits = 0;
  for (int round = 0; round < 5000 && fault_.empty(); ++round) {
    bool moved = false;
    world_.run_until_idle();
    for (Client& client : clients_) {
      if (client.peer == nullptr) continue;
      const std::uint64_t before = client.peer->handed_over_bytes;
      moved |= client.peer->undrained_bytes > 0;  // its report may let more through
      read(client, true);
      moved |= client.peer->handed_over_bytes != before || !client.to_acknowledge.empty();
      acknowledge(client, true);
    }
    if (moved) {
      waits = 0;
      continue;
    }
    if (++waits > waits_max) return;
    world_.advance_ms(2 * rate_interval_ms);
  }
  fail("the server never came to rest");
}

}  // namespace millrace::broker
