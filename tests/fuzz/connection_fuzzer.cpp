// The fuzz target of a whole server: an input is the script of up to four clients.
//
// Its first byte chooses the overflow policy; then each step is a byte that says what is done (the
// lower half) and by whom (bits 4 and 5), and as many bytes as that takes. So any bytes are a
// script, and a mutation of one changes a step, not everything behind it. make_connection_seeds.py
// writes scripts by name.
//
// What must hold stands in connection_peer.cpp (each packet that a client receives) and in
// World::finish() (nothing stays behind).
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "protocol/encode.hpp"
#include "tests/fuzz/connection_peer.hpp"

namespace millrace::server {

namespace {

using protocol::PacketType;
using protocol::Version;
using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t connections_max = 24;

constexpr std::array<const char*, 8> topics = {"a",        "a/b",    "b",  "a/b/c",
                                               "secret/x", "read/x", "$x", "$SYS/x"};
constexpr std::array<const char*, 16> filters = {
    "#",         "a",         "a/#",      "+/b",      "a/+", "b",       "$share/g/#", "$share/g/a",
    "$latest/#", "$latest/a", "secret/#", "secret/x", "$x",  "+/+/+/#", "$share/x",   "a#"};
constexpr std::array<const char*, 4> client_ids = {"", "one", "two", "three"};

// The bytes of the script; zeros when it is over.
class Script {
 public:
  Script(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}

  bool done() const { return left_ == 0; }
  std::uint8_t byte() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }
  template <class Array>
  std::string one_of(const Array& words) {
    return words[byte() % words.size()];
  }
  Bytes bytes(std::size_t count) {
    Bytes taken;
    while (count-- > 0 && left_ > 0) taken.push_back(byte());
    return taken;
  }

 private:
  const std::uint8_t* data_;
  std::size_t left_;
};

// A small number where few are enough, and the ends of its range.
std::uint32_t number(std::uint8_t byte, std::uint32_t max) {
  if (byte == 255) return max;
  return byte < 128 ? byte : std::min<std::uint32_t>(max, (byte - 127u) * 7);
}

std::uint16_t packet_id(std::uint8_t byte) {
  return byte == 255 ? 65535 : static_cast<std::uint16_t>(1 + byte % 8);
}

// Larger ones reach the limits of credits and queues. Who publishes it stands in front.
std::string payload(std::uint8_t byte, std::size_t by) {
  std::string text(byte < 192 ? byte % 16 : (byte - 191u) * 60, static_cast<char>('a' + byte % 26));
  if (!text.empty()) text[0] = static_cast<char>('A' + by);
  return text;
}

protocol::Packet connect(Script& script, std::size_t by) {
  constexpr std::array<Version, 4> versions = {Version::v5, Version::v3_1_1, Version::v5,
                                               Version::v3_1};
  const std::uint8_t how = script.byte();
  protocol::Connect packet;
  packet.version = versions[how % 4];
  packet.clean_start = (how & 4) != 0;
  packet.client_id = script.one_of(client_ids);
  packet.keep_alive_seconds = (how & 8) != 0 ? 10 : 0;
  if ((how & 16) != 0) {
    protocol::Will will;
    will.topic = script.one_of(topics);
    const std::uint8_t more = script.byte();
    will.payload = payload(more, by);
    will.qos = static_cast<protocol::QoS>(more % 3);
    will.retain = more % 2 == 1;
    if (packet.version == Version::v5) will.properties.will_delay_interval = more % 4;
    packet.will = std::move(will);
  }
  if (packet.version == Version::v5 && (how & 32) != 0) {
    packet.properties.session_expiry_interval = number(script.byte(), UINT32_MAX);
    packet.properties.receive_maximum = 1 + number(script.byte(), 65534) % 65535;
    packet.properties.topic_alias_maximum = script.byte() % 4;
  }
  if (packet.version == Version::v5 && (how & 64) != 0) {
    packet.properties.maximum_packet_size = 40 + number(script.byte(), UINT32_MAX - 40);
  }
  return packet;
}

protocol::Packet publish(Script& script, Version version, std::size_t by) {
  const std::uint8_t how = script.byte();
  protocol::Publish packet;
  packet.qos = static_cast<protocol::QoS>(how % 3);
  packet.retain = (how & 4) != 0;
  packet.dup = packet.qos != protocol::QoS::at_most_once && (how & 8) != 0;
  packet.topic = script.one_of(topics);
  packet.payload = payload(script.byte(), by);
  if (packet.qos != protocol::QoS::at_most_once) packet.packet_id = packet_id(script.byte());
  if (version != Version::v5) return packet;
  if ((how & 16) != 0) {
    const std::uint8_t alias = script.byte();
    packet.properties.topic_alias = 1 + alias % 4;
    if ((alias & 128) != 0) packet.topic.clear();
  }
  if ((how & 32) != 0) packet.properties.message_expiry_interval = script.byte();
  if ((how & 64) != 0) packet.properties.response_topic = "answer";
  if ((how & 128) != 0) packet.properties.user_properties = {{"k", "v"}, {"k", "w"}};
  return packet;
}

protocol::Packet subscribe(Script& script, Version version) {
  const std::uint8_t how = script.byte();
  protocol::Subscribe packet;
  packet.packet_id = packet_id(script.byte());
  for (unsigned i = 0; i <= how % 3u; ++i) {
    const std::uint8_t options = script.byte();
    protocol::Subscription one;
    one.filter = script.one_of(filters);
    one.qos = static_cast<protocol::QoS>(options % 3);
    if (version == Version::v5) {
      one.no_local = (options & 4) != 0;
      one.retain_as_published = (options & 8) != 0;
      one.retain_handling = static_cast<protocol::RetainHandling>((options >> 4) % 3);
    }
    packet.subscriptions.push_back(std::move(one));
  }
  if (version != Version::v5) return packet;
  if ((how & 4) != 0) packet.properties.subscription_identifiers = {1u + how / 32};
  constexpr std::array<const char*, 4> modes = {"every", "adaptive", "latest", "?"};
  if ((how & 8) != 0) packet.properties.user_properties = {{"delivery", modes[how / 64]}};
  if ((how & 16) != 0) packet.properties.user_properties.push_back({"max-rate-hz", "2"});
  return packet;
}

protocol::Packet unsubscribe(Script& script) {
  protocol::Unsubscribe packet;
  packet.packet_id = packet_id(script.byte());
  packet.filters = {script.one_of(filters)};
  return packet;
}

protocol::Packet acknowledgement(PacketType type, std::uint16_t packet_id,
                                 protocol::ReasonCode reason = protocol::ReasonCode::success) {
  switch (type) {
    case PacketType::puback:
      return protocol::Puback{packet_id, reason, {}};
    case PacketType::pubrec:
      return protocol::Pubrec{packet_id, reason, {}};
    case PacketType::pubrel:
      return protocol::Pubrel{packet_id, {}, {}};
    default:
      return protocol::Pubcomp{packet_id, {}, {}};
  }
}

protocol::Packet any_acknowledgement(Script& script) {
  constexpr std::array<PacketType, 4> types = {PacketType::puback, PacketType::pubrec,
                                               PacketType::pubrel, PacketType::pubcomp};
  const std::uint8_t how = script.byte();
  const auto reason =
      (how & 4) != 0 ? protocol::ReasonCode::quota_exceeded : protocol::ReasonCode{};
  return acknowledgement(types[how % 4], packet_id(how >> 3), reason);
}

protocol::Packet disconnect(Script& script, Version version) {
  const std::uint8_t how = script.byte();
  protocol::Disconnect packet;
  if (version != Version::v5) return packet;
  if ((how & 1) != 0) packet.reason = protocol::ReasonCode::disconnect_with_will_message;
  if ((how & 2) != 0) packet.properties.session_expiry_interval = number(how, UINT32_MAX);
  return packet;
}

class Run {
 public:
  Run(const std::uint8_t* data, std::size_t size)
      : script_(data, size),
        overflow_(static_cast<OverflowPolicy>(script_.byte() % 4)),
        world_(overflow_) {}

  void play() {
    while (!script_.done()) {
      step(script_.byte());
      world_.run();
      for (auto& peer : peers_) {
        if (peer) peer->check();
      }
    }
    world_.finish();
    for (auto& peer : peers_) {
      if (peer) peer->check();
    }
  }

 private:
  void step(std::uint8_t what) {
    const std::size_t who = (what >> 4) % peers_.size();
    auto& peer = peers_[who];
    if (!peer || peer->closed()) {
      if (connections_ >= connections_max) return;
      numbers_[who] = connections_++;
      peer =
          std::make_unique<FuzzPeer>(world_, witness_, overflow_ == OverflowPolicy::backpressure);
      world_.run();
    }
    switch (what % 16) {
      case 0:
        return send(*peer, connect(script_, numbers_[who]));
      case 1:  // CONNECT and more in one read
        peer->join_next(1u + script_.byte() % 6);
        return send(*peer, connect(script_, numbers_[who]));
      case 2:
        return send(*peer, publish(script_, peer->version(), numbers_[who]));
      case 3:
        return peer->join_next(1u + script_.byte() % 6);
      case 4:
        return send(*peer, subscribe(script_, peer->version()));
      case 5:
        return send(*peer, unsubscribe(script_));
      case 6:
        return send(*peer, any_acknowledgement(script_));
      case 7: {
        std::uint8_t count = script_.byte();
        for (auto owed = peer->next_owed(); owed; owed = peer->next_owed()) {
          send(*peer, acknowledgement(owed->first, owed->second));
          if (count-- == 0) return;
        }
        return;
      }
      case 8:
        return send(*peer, disconnect(script_, peer->version()));
      case 9:
        return send(*peer, protocol::Pingreq{});
      case 10:
        return peer->send(script_.bytes(script_.byte()));
      case 11:  // the next packet has another byte somewhere
        flip_at_ = 1u + script_.byte();
        flip_by_ = script_.byte();
        return;
      case 12:
        peer->line().read_max = 1u + script_.byte();
        return;
      case 13:
        return end(peer->line());
      case 14: {
        const std::uint8_t room = script_.byte();
        peer->line().write_room = room == 255 ? SIZE_MAX : room * 8u;
        peer->line().was_short = true;
        return;
      }
      default: {
        const std::uint32_t count = number(script_.byte(), 100);
        return world_.advance_ms(count * number(script_.byte(), 1000));
      }
    }
  }

  void send(FuzzPeer& peer, const protocol::Packet& packet) {
    Bytes bytes;
    const auto* connect = std::get_if<protocol::Connect>(&packet);
    protocol::encode(packet, connect ? connect->version : peer.version(), bytes);
    if (flip_at_ > 0) {
      bytes[(flip_at_ - 1) % bytes.size()] ^= flip_by_;
      flip_at_ = 0;
    }
    peer.send(bytes);
  }

  void end(Line& line) { (script_.byte() % 2 == 0 ? line.ended : line.lost) = true; }

  Script script_;
  const OverflowPolicy overflow_;
  World world_;
  Witness witness_;
  std::array<std::unique_ptr<FuzzPeer>, 4> peers_;
  std::array<std::size_t, 4> numbers_{};  // of the peers' connections
  std::size_t connections_ = 0;
  std::size_t flip_at_ = 0;  // 1 + where; 0: nowhere
  std::uint8_t flip_by_ = 0;
};

}  // namespace
}  // namespace millrace::server

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 0) millrace::server::Run(data, size).play();
  return 0;
}
