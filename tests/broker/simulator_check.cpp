// What the simulator checks between batches, and at the end.
#include <map>
#include <string>

#include "tests/broker/simulator.hpp"

namespace millrace::broker {

void Simulator::check() {
  if (world_.in_batch()) return;  // limits hold between batches
  watch();
  if (world_.in_batch()) return;
  for (const Client& client : clients_) {
    const Session* session = world_.processor.find_session(client.id);
    if (client.peer != nullptr && (session == nullptr || !session->connected())) {
      return fail("a connected client has no session");
    }
    if (session == nullptr) continue;
    if (session->pending.every_size() > limits_.queue_messages ||
        session->pending.every_bytes() > limits_.queue_bytes) {
      return fail("a queue went over its limit");
    }
    if (session->connected() &&
        session->outbox->outstanding_bytes > limits_.credit_max_bytes + 200 /* one message */) {
      return fail("more bound than the credit");
    }
  }
  const bool evicts = world_.processor.has_more();
  if (!evicts && world_.processor.topics().size() > limits_.slots.count_max) {
    fail("too many slots");
  }
  check_memory();
}

// What is charged is what is there.
void Simulator::check_memory() {
  if (world_.processor.has_more()) return;  // what ended is still being taken apart
  world_.processor.update_ledger();
  const auto counted = world_.processor.recount_memory();
  for (const Holding kind : {Holding::queues, Holding::inflight, Holding::sessions,
                             Holding::subscriptions, Holding::topics, Holding::routes}) {
    const auto at = static_cast<std::size_t>(kind);
    const std::uint64_t charged = world_.processor.ledger().bytes(kind);
    if (charged == counted[at]) continue;
    return fail(std::string(holding_names[at]) + ": charged " + std::to_string(charged) +
                " bytes, there are " + std::to_string(counted[at]));
  }
  check_accounts();
}

// Of each user: the sum of what its sessions were noted with, and no account without one.
void Simulator::check_accounts() {
  std::map<std::string, std::uint64_t> noted;
  world_.processor.for_each_session([&](const Session& session) {
    if (session.user_kib > 0) noted[std::string(session.owner())] += session.user_kib;
  });
  const UserAccounts& accounts = world_.processor.users();
  if (accounts.size() != noted.size()) return fail("an account without a session");
  for (const auto& [user, kib] : noted) {
    if (accounts.kib(user) != kib) fail("the account of " + user + " is not what is noted");
  }
}

void Simulator::check_end() {
  std::uint64_t missing = 0;
  for (Client& client : clients_) {
    if (client.peer == nullptr) continue;
    missing += client.owed.size();
    if (!client.owed.empty() && !options_.small_limits) {
      return fail("lost: message " + std::to_string(*client.owed.begin()) + " at " + client.id);
    }
    for (const auto& [filter, owed] : client.snapshots_owed) {
      if (owed.empty() || options_.small_limits) continue;
      return fail("not in the snapshot of " + filter + " at " + client.id + ": " +
                  owed.begin()->first + " " + std::to_string(owed.begin()->second));
    }
    for (const auto& [name, number] : client.newest_owed) {
      if (newest_[name] == number && !options_.small_limits && !is_spared(client, name)) {
        return fail("not the newest value of " + name + " at " + client.id);
      }
    }
  }
  const ProcessorStats& stats = world_.processor.stats();
  const auto dropped = [&](Drop why) {
    return stats.dropped[static_cast<std::size_t>(why)].value();
  };
  if (missing > dropped(Drop::queue_oldest) + dropped(Drop::queue_newest)) {
    return fail("lost without being counted");
  }
  if (stats.pending.value() != 0) fail("something still waits");
  if (stats.pending_bytes.value() != 0) fail("bytes are miscounted");
  world_.advance_ms(2 * std::int64_t{limits_.adaptive_stale_after_ms});
  if (stats.slow_sessions.value() != 0) fail("who has caught up counts as slow");
  for (Peer* ghost : ghosts_) ghost->close();
  watcher_->close();
  for (Client& client : clients_) {
    if (client.peer == nullptr) continue;
    client.peer->close();
    client.peer = &new_peer(client);
    client.peer->connect(true, 0).close();  // ends the session
  }
  for (Client& client : clients_) {
    if (world_.processor.find_session(client.id) != nullptr) {
      new_peer(client).connect(true, 0).close();
    }
  }
  world_.run_until_idle();
  check_memory();
  if (stats.sessions.value() != 0) fail("a session stayed");
  if (stats.sessions_connected.value() != 0) fail("connections are miscounted");
  if (stats.inflight.value() != 0) fail("inflight messages are miscounted");
  if (world_.processor.index().size() != 0) fail("a subscription stayed");
}

}  // namespace millrace::broker
