// What the records of a store promise to clients, and whether a server that has started with them
// keeps it.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "core/broker/journal_records.hpp"
#include "core/broker/message.hpp"
#include "tests/broker/world.hpp"
#include "tests/store/life.hpp"

namespace millrace::broker {

using StateKey = store::State::key_type;

inline records::Kind kind_of(const StateKey& key) {
  return records::kind_of(
      {static_cast<std::uint8_t>(std::get<0>(key)), std::get<1>(key), std::get<2>(key)});
}

inline std::string payload_of(const records::Packet& packet) {
  const Message message =
      message_of(restore_packet(store::bytes_of(packet.bytes), packet.is_v5, 1, 0));
  return std::string(store::text_of(message.payload()));
}

// What a client with a session is to find.
struct StoredSession {
  struct Waiting {
    std::string payload;
    std::uint32_t subscription = 0;
    bool is_cell = false;
  };
  records::SessionState state;
  std::map<std::string, records::SubscriptionState> subscriptions;
  std::set<std::uint16_t> received;
  std::map<std::uint16_t, std::string> sent;  // by packet identifier
  std::set<std::uint16_t> released;           // PUBREL is to come again
  std::vector<Waiting> waiting;
};

struct StoredPromises {
  std::map<std::uint64_t, StoredSession> sessions;
  std::map<std::string, std::string> retained;
  std::map<std::string, std::string> newest;
};

inline void add_entry(StoredSession& session, const store::State& state, const StateKey& key) {
  const auto& [value, body] = state.at(key);
  const auto entry = records::decode_entry(value).value();
  std::uint16_t packet_id = entry.packet_id;
  InflightState sent = entry.state;
  const auto number = records::number_of(std::get<2>(key)).value();
  const auto bound = state.find(
      {std::get<0>(key), std::get<1>(key), records::rest_of(records::Part::bound, number)});
  if (bound != state.end()) {
    const auto apart = records::decode_bound(bound->second.first).value();
    packet_id = apart.packet_id;
    sent = apart.state;
  }
  if (packet_id != 0 && sent == InflightState::awaits_pubcomp) {
    session.released.insert(packet_id);
    return;
  }
  const auto found = state.find({store::body_space, body, ""});
  if (found == state.end()) return;
  std::string payload = payload_of(records::decode_packet(found->second.first).value());
  if (packet_id != 0) {
    session.sent[packet_id] = std::move(payload);
  } else {
    session.waiting.push_back({std::move(payload), entry.subscription, entry.waits == Waits::cell});
  }
}

// Of records that are what a server wrote, though some may be missing.
inline StoredPromises promises_of(const store::State& state) {
  StoredPromises promises;
  StoredSession* session = nullptr;
  for (const auto& [key, value] : state) {
    const auto& [space, group, rest] = key;
    if (space == records::session_space) {
      const auto found = promises.sessions.find(group);
      session = found == promises.sessions.end() ? nullptr : &found->second;
    }
    const records::Kind kind = kind_of(key);
    switch (kind) {
      case records::Kind::session:
        promises.sessions[group].state = records::decode_session(value.first).value();
        break;
      case records::Kind::subscription:
        if (session == nullptr) break;
        session->subscriptions[rest.substr(1)] = records::decode_subscription(value.first).value();
        break;
      case records::Kind::received:
        if (session == nullptr) break;
        session->received.insert(static_cast<std::uint16_t>(records::number_of(rest).value()));
        break;
      case records::Kind::entry:
        if (session != nullptr) add_entry(*session, state, key);
        break;
      case records::Kind::retained:
        promises.retained[rest] = payload_of(records::decode_retained(value.first).value().packet);
        break;
      case records::Kind::newest:
        promises.newest[rest] = payload_of(records::decode_packet(value.first).value());
        break;
      case records::Kind::body:
      case records::Kind::bound:
      case records::Kind::count:
        break;
    }
  }
  return promises;
}

// What the server's own state says of a session, before its client is back.
inline std::string broken_state(const Session* session, const StoredSession& wanted) {
  if (session == nullptr) return "there is no session";
  if (session->expiry_s != wanted.state.expiry_s) return "another expiry";
  if (session->deadlines.read().will.has_value() == wanted.state.will.empty()) return "the will";
  const SubscriptionTable& subscriptions = session->subscriptions.read().of;
  if (subscriptions.size() != wanted.subscriptions.size()) return "the count of subscriptions";
  for (const auto& [name, state] : wanted.subscriptions) {
    const Subscription* found = subscriptions.find(name);
    if (found == nullptr) return "no subscription " + name;
    if (found->qos != state.qos || found->mode != state.mode) return "another subscription " + name;
  }
  const auto& received = session->deferred.read().received_qos2;
  if (std::set<std::uint16_t>(received.begin(), received.end()) != wanted.received) {
    return "other received messages";
  }
  return "";
}

// The client takes what there is for it, and acknowledges nothing.
inline Peer& come_back(World& world, const records::SessionState& state,
                       const std::function<void()>& commit) {
  Peer& peer =
      world.peer(state.client_id, state.is_v5 ? protocol::Version::v5 : protocol::Version::v3_1_1);
  if (state.has_rights) {
    boost::intrusive_ptr<Rights> rights(new Rights);
    rights->owner = state.owner;
    peer.rights = std::move(rights);
  }
  peer.connect(false, state.expiry_s);
  for (int i = 0; i < 3; ++i) {
    commit();
    peer.read();
  }
  return peer;
}

inline std::string broken_delivery(const Peer& peer, const StoredSession& wanted) {
  if (peer.session_present != true) return "the session is not present";
  std::map<std::uint16_t, std::string> sent;
  std::multiset<std::string> waited;
  std::set<std::uint16_t> released;
  for (const Got& got : peer.got) {
    if (got.duplicate) {
      sent[got.packet_id] = got.payload;
    } else {
      waited.insert(got.payload);
    }
  }
  for (const protocol::Packet& packet : peer.control) {
    if (const auto* pubrel = std::get_if<protocol::Pubrel>(&packet)) {
      released.insert(pubrel->packet_id);
    }
  }
  if (sent != wanted.sent) return "inflight messages";
  if (released != wanted.released) return "released messages";
  for (std::size_t i = 0; i < wanted.waiting.size(); ++i) {
    const StoredSession::Waiting& one = wanted.waiting[i];
    const auto found = waited.find(one.payload);
    if (found != waited.end()) {
      waited.erase(found);
      continue;
    }
    // A value whose removal is not known any more may be replaced by the one that came later.
    const bool is_replaced =
        one.is_cell && std::any_of(wanted.waiting.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                                   wanted.waiting.end(), [&](const auto& later) {
                                     return later.is_cell && later.subscription == one.subscription;
                                   });
    if (!is_replaced) return "no message '" + one.payload + "'";
  }
  return waited.empty() ? "" : "nobody queued '" + *waited.begin() + "'";
}

// Whether a subscription to everything gets them. `exactly`: and no others.
inline std::string broken_values(World& world, const StoredPromises& promises, bool exactly) {
  using Values = std::map<std::string, std::string>;
  const auto agree = [&](const Peer& peer, const Values& wanted) {
    Values got;
    for (const Got& one : peer.got) got[one.topic] = one.payload;
    return exactly ? got == wanted
                   : std::includes(got.begin(), got.end(), wanted.begin(), wanted.end());
  };
  const Peer& plain = world.peer("reads retained values").connect().subscribe("#").read();
  if (!agree(plain, promises.retained)) return "retained values";
  Values all = promises.newest;
  all.insert(promises.retained.begin(), promises.retained.end());
  const Peer& newest =
      world.peer("reads newest values").connect().subscribe("#", 0, Mode::latest).read();
  return agree(newest, all) ? "" : "newest values";
}

// Empty: there is none. `commit`: everything so far is on the disk.
inline std::string broken_promise(World& world, const StoredPromises& promises,
                                  const std::function<void()>& commit, bool exactly = true) {
  for (const auto& [number, session] : promises.sessions) {
    const std::string& name = session.state.client_id;
    std::string broken = broken_state(world.processor.find_session(name), session);
    if (broken.empty()) broken = broken_delivery(come_back(world, session.state, commit), session);
    if (!broken.empty()) return name + ": " + broken;
  }
  return broken_values(world, promises, exactly);
}

// What is promised by the records but for this one: of what it is of, nothing.
inline StoredPromises promises_without(const store::State& state, const StateKey& key) {
  StoredPromises promises = promises_of(state);
  const auto& [space, group, rest] = key;
  if (space == records::session_space) promises.sessions.erase(group);
  if (space == records::retained_space) promises.retained.erase(rest);
  if (space == records::newest_space) promises.newest.erase(rest);
  if (space == store::body_space) {
    for (const auto& [other, value] : state) {
      if (value.second == group) promises.sessions.erase(std::get<1>(other));
    }
  }
  return promises;
}

}  // namespace millrace::broker
