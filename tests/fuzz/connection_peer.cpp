#include "tests/fuzz/connection_peer.hpp"

#include <algorithm>
#include <cstdio>

#include "protocol/decode.hpp"
#include "protocol/frame.hpp"
#include "protocol/topic.hpp"

namespace millrace::server {

using protocol::PacketType;
using protocol::QoS;
using protocol::Version;

// --- What is sent ---

void FuzzPeer::send(std::span<const std::uint8_t> bytes) {
  joined_.insert(joined_.end(), bytes.begin(), bytes.end());
  if (join_ > 0) --join_;
  if (join_ == 0) {
    line_->to_server.insert(line_->to_server.end(), joined_.begin(), joined_.end());
    joined_.clear();
  }
  if (is_garbage_) return;
  unread_.insert(unread_.end(), bytes.begin(), bytes.end());
  note_sent();
}

void FuzzPeer::join_next(std::size_t count) {
  join_ = count;
}

void FuzzPeer::note_sent() {
  while (!is_garbage_) {
    const auto found = protocol::frame(unread_, protocol::packet_bytes_limit,
                                       has_connected_ ? version() : protocol::first_packet_version);
    if (found.has_error()) break;
    if (!*found) return;  // more is to come
    auto packet = protocol::decode(**found, unread_, version());
    if (!packet) break;
    if (std::holds_alternative<protocol::Connect>(*packet) == has_connected_) break;
    if (!has_connected_ && (*found)->packet_bytes > World::connect_bytes_max) {
      may_have_no_answer_ = true;
    }
    note_sent_packet(*packet);
    unread_.erase(unread_.begin(), unread_.begin() + (*found)->packet_bytes);
  }
  is_garbage_ = true;
}

void FuzzPeer::note_sent_packet(protocol::Packet& packet) {
  const auto expect_answer = [&](PacketType type, std::uint16_t packet_id, std::size_t codes = 0) {
    answers_[{type, packet_id}].push_back({codes, questions_++});
  };
  if (const auto* connect = std::get_if<protocol::Connect>(&packet)) {
    note_connect(*connect);
  } else if (auto* publish = std::get_if<protocol::Publish>(&packet)) {
    if (publish->qos == QoS::at_least_once) expect_answer(PacketType::puback, publish->packet_id);
    if (publish->qos == QoS::exactly_once) expect_answer(PacketType::pubrec, publish->packet_id);
    note_publish(*publish);
  } else if (const auto* subscribe = std::get_if<protocol::Subscribe>(&packet)) {
    expect_answer(PacketType::suback, subscribe->packet_id, subscribe->subscriptions.size());
    note_subscribe(*subscribe);
  } else if (const auto* unsubscribe = std::get_if<protocol::Unsubscribe>(&packet)) {
    const bool has_codes = version() == Version::v5;
    expect_answer(PacketType::unsuback, unsubscribe->packet_id,
                  has_codes ? unsubscribe->filters.size() : 0);
  } else if (const auto* pubrel = std::get_if<protocol::Pubrel>(&packet)) {
    expect_answer(PacketType::pubcomp, pubrel->packet_id);
  } else if (const auto* puback = std::get_if<protocol::Puback>(&packet)) {
    unacknowledged_.erase(puback->packet_id);
  } else if (const auto* pubrec = std::get_if<protocol::Pubrec>(&packet)) {
    if (protocol::is_failure(pubrec->reason)) {
      unacknowledged_.erase(pubrec->packet_id);
    } else {
      expect_answer(PacketType::pubrel, pubrec->packet_id);
    }
  } else if (const auto* pubcomp = std::get_if<protocol::Pubcomp>(&packet)) {
    unacknowledged_.erase(pubcomp->packet_id);
  } else if (std::holds_alternative<protocol::Pingreq>(packet)) {
    pings_.push_back(questions_);
  }
}

void FuzzPeer::note_connect(const protocol::Connect& connect) {
  has_connected_ = true;
  version_ = connect.version;
  client_id_ = connect.client_id;
  // Until the server assigns one.
  if (client_id_.empty()) client_id_ = "?" + std::to_string(++witness_.nameless);
  receive_maximum_ = connect.properties.receive_maximum.value_or(65535);
  alias_maximum_ = connect.properties.topic_alias_maximum.value_or(0);
  packet_bytes_max_ = connect.properties.maximum_packet_size.value_or(UINT32_MAX);
  // MQTT 3 has no return code for a will that nobody may publish.
  if (packet_bytes_max_ < 5 || (connect.will && version_ != Version::v5)) {
    may_have_no_answer_ = true;
  }
  if (connect.will) witness_.published.insert({connect.will->topic, connect.will->payload});
}

void FuzzPeer::note_publish(protocol::Publish& publish) {
  if (const auto alias = publish.properties.topic_alias) {
    std::string& topic = aliases_in_[*alias];
    if (!publish.topic.empty()) topic = publish.topic;
    publish.topic = topic;
  }
  if (!publish.payload.empty()) published_.insert({publish.topic, publish.payload});
  witness_.published.insert({std::move(publish.topic), std::move(publish.payload)});
}

void FuzzPeer::note_subscribe(const protocol::Subscribe& subscribe) {
  for (const protocol::Subscription& one : subscribe.subscriptions) {
    const auto parsed = protocol::parse_filter(one.filter);
    if (parsed) witness_.filters[client_id_].insert(std::string(parsed->filter));
  }
}

std::optional<std::pair<PacketType, std::uint16_t>> FuzzPeer::next_owed() {
  if (owed_.empty()) return std::nullopt;
  const auto first = owed_.front();
  owed_.erase(owed_.begin());
  return first;
}

// --- What comes ---

void FuzzPeer::check() {
  std::vector<std::uint8_t>& bytes = line_->from_server;
  if (!has_connected_) {
    // What it is answered by, it cannot know: nothing, or one CONNACK that refuses.
    expect(bytes.empty() || bytes[0] == 0x20, "a stranger gets a CONNACK or nothing");
    return;
  }
  for (;;) {
    const auto found = protocol::frame(bytes, protocol::packet_bytes_limit, version());
    expect(found.has_value(), "what the server sends is framed");
    if (!*found) break;
    const std::size_t count = (*found)->packet_bytes;
    auto packet = protocol::decode(**found, bytes, version(), protocol::Sender::server);
    expect(packet.has_value(), "what the server sends is decoded");
    judge(*packet, count);
    bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
  }
  if (closed()) judge_end();
}

// The server closed it. [MQTT-3.2.0-1]: whatever came behind CONNECT.
void FuzzPeer::judge_end() {
  const bool cut_off = line_->lost || line_->ended || line_->was_short || !joined_.empty();
  expect(has_answer_ || cut_off || may_have_no_answer_, "CONNECT is answered");
}

// [MQTT-3.12.4-1], and the order of answers: what was asked for before PINGREQ is answered before
// PINGRESP.
void FuzzPeer::judge_pingresp() {
  expect(!pings_.empty(), "PINGRESP answers a PINGREQ");
  const std::size_t asked_before = pings_.front();
  pings_.erase(pings_.begin());
  if (packet_bytes_max_ != UINT32_MAX) return;  // an answer that is too large is not sent
  for (const auto& [answer, questions] : answers_) {
    const bool may_wait = answer.first == PacketType::puback || answer.first == PacketType::pubrec;
    if (may_wait && acks_may_wait_) continue;
    for (const Question& question : questions) {
      expect(question.number >= asked_before, "answers keep the order of their questions");
    }
  }
}

void FuzzPeer::judge(protocol::Packet& packet, std::size_t bytes) {
  expect(!over_, "nothing comes after the last word");
  expect(bytes <= packet_bytes_max_, "no packet is over the client's Maximum Packet Size");
  if (const auto* connack = std::get_if<protocol::Connack>(&packet)) return judge_connack(*connack);
  expect(greeted_, "CONNACK comes first");
  if (auto* publish = std::get_if<protocol::Publish>(&packet)) {
    judge_publish(*publish);
  } else if (const auto* suback = std::get_if<protocol::Suback>(&packet)) {
    judge_answer(PacketType::suback, suback->packet_id, suback->reasons.size());
  } else if (const auto* unsuback = std::get_if<protocol::Unsuback>(&packet)) {
    judge_answer(PacketType::unsuback, unsuback->packet_id, unsuback->reasons.size());
  } else if (const auto* puback = std::get_if<protocol::Puback>(&packet)) {
    judge_answer(PacketType::puback, puback->packet_id, 0);
  } else if (const auto* pubrec = std::get_if<protocol::Pubrec>(&packet)) {
    judge_answer(PacketType::pubrec, pubrec->packet_id, 0);
  } else if (const auto* pubcomp = std::get_if<protocol::Pubcomp>(&packet)) {
    judge_answer(PacketType::pubcomp, pubcomp->packet_id, 0);
  } else if (const auto* pubrel = std::get_if<protocol::Pubrel>(&packet)) {
    owed_.emplace_back(PacketType::pubcomp, pubrel->packet_id);  // also of an earlier connection
  } else if (std::holds_alternative<protocol::Pingresp>(packet)) {
    judge_pingresp();
  } else {
    expect(std::holds_alternative<protocol::Disconnect>(packet) && version() == Version::v5,
           "the server sends what a server may");
    over_ = true;
  }
}

void FuzzPeer::judge_connack(const protocol::Connack& connack) {
  expect(!greeted_, "there is one CONNACK");
  greeted_ = has_answer_ = true;
  over_ = connack.reason != protocol::ReasonCode::success;
  expect(!over_ || !connack.session_present, "a refusal has no session");
  // [MQTT-3.1.4-6]: nothing that came behind a refused CONNECT is delivered.
  if (over_) {
    for (const auto& message : published_) witness_.published.erase(message);
  }
  if (connack.properties.assigned_client_identifier) {
    std::set<std::string> filters = std::move(witness_.filters[client_id_]);
    client_id_ = *connack.properties.assigned_client_identifier;
    witness_.filters[client_id_] = std::move(filters);
  }
}

void FuzzPeer::judge_publish(protocol::Publish& publish) {
  if (const auto alias = publish.properties.topic_alias) {
    expect(*alias <= alias_maximum_, "an alias is within the client's Topic Alias Maximum");
    std::string& topic = aliases_out_[*alias];
    if (!publish.topic.empty()) topic = publish.topic;
    publish.topic = topic;
  }
  expect(protocol::valid_topic_name(publish.topic), "a message has a topic");
  expect(!protocol::matches("secret/#", publish.topic), "what is denied is not delivered");
  const auto& filters = witness_.filters[client_id_];
  expect(std::any_of(filters.begin(), filters.end(),
                     [&](const auto& filter) { return protocol::matches(filter, publish.topic); }),
         "what is delivered was subscribed to");
  expect(witness_.published.contains({publish.topic, publish.payload}),
         "what is delivered was published");
  if (publish.qos == QoS::at_most_once) return;
  unacknowledged_.insert(publish.packet_id);
  expect(unacknowledged_.size() <= receive_maximum_, "the client's Receive Maximum is kept");
  owed_.emplace_back(publish.qos == QoS::at_least_once ? PacketType::puback : PacketType::pubrec,
                     publish.packet_id);
}

void FuzzPeer::judge_answer(PacketType type, std::uint16_t packet_id, std::size_t codes) {
  auto& expected = answers_[{type, packet_id}];
  const auto found = std::find_if(expected.begin(), expected.end(), [&](const Question& question) {
    return question.codes == codes;
  });
  expect(found != expected.end(), "an answer answers a request");
  expected.erase(found);
}

}  // namespace millrace::server
