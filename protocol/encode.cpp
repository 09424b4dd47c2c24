#include "protocol/encode.hpp"

#include "protocol/require.hpp"
#include "protocol/writer.hpp"

namespace millrace::protocol {
namespace {

using detail::require;
using detail::Writer;

// One overload for each packet type; each appends the whole packet.
class Encoder {
 public:
  Encoder(Version version, std::vector<std::uint8_t>& out) noexcept
      : version_(version), out_(out), writer_(out) {}

  void operator()(const Connect& packet);
  void operator()(const Connack& packet);
  void operator()(const Publish& packet);
  void operator()(const Subscribe& packet);
  void operator()(const Suback& packet);
  void operator()(const Unsubscribe& packet);
  void operator()(const Unsuback& packet);
  void operator()(const Pingreq&) { empty(PacketType::pingreq); }
  void operator()(const Pingresp&) { encode_pingresp(out_); }
  void operator()(const Disconnect& packet);
  void operator()(const Auth& packet);

  template <PacketType type>
  void operator()(const Acknowledgement<type>& packet) {
    require(packet.packet_id != 0, "an acknowledgement has a packet identifier");
    if (!v5() || nothing_in(packet.properties)) {
      encode_ack(type, packet.packet_id, packet.reason, version_, out_);
      return;
    }
    header(type, type == PacketType::pubrel ? 0x02 : 0x00, [&] {
      writer_.two_bytes(packet.packet_id);
      writer_.byte(static_cast<unsigned>(packet.reason));
      properties(packet.properties, type);
    });
  }

 private:
  [[nodiscard]] bool v5() const noexcept { return version_ == Version::v5; }

  static bool nothing_in(const Properties& properties) noexcept {
    return properties_bytes(properties) == 0;
  }

  template <class Body>
  void header(PacketType type, unsigned flags, Body&& body) {
    writer_.byte(static_cast<unsigned>(type) << 4 | flags);
    writer_.with_length(body);
  }

  void empty(PacketType type) {
    header(type, 0, [] {});
  }

  void properties(const Properties& properties, PacketType type) {
    if (v5()) encode_properties(properties, property_scope(type), out_);
  }

  void reasons(const std::vector<ReasonCode>& reasons) {
    require(!reasons.empty(), "SUBACK and UNSUBACK have a reason for every entry");
    for (const ReasonCode reason : reasons) {
      writer_.byte(static_cast<unsigned>(is_failure(reason) ? failure(reason) : reason));
    }
  }

  // 3.1.1 has one code for all failures. 3.1 has none: a client that may not subscribe gets a
  // granted QoS, and no messages (3.1, section 3.8).
  ReasonCode failure(ReasonCode reason) const noexcept {
    if (v5()) return reason;
    return version_ == Version::v3_1 ? ReasonCode::granted_qos0 : ReasonCode::unspecified_error;
  }

  void packet_id(std::uint16_t id) {
    require(id != 0, "a packet identifier is never 0");  // [MQTT-2.2.1-3]
    writer_.two_bytes(id);
  }

  // DISCONNECT and AUTH: a reason and properties, which are omitted if empty, as is then the reason
  // if it is Success.
  void reason_and_properties(PacketType type, ReasonCode reason, const Properties& properties) {
    header(type, 0, [&] {
      const bool bare = nothing_in(properties);
      if (bare && reason == ReasonCode::success) return;
      writer_.byte(static_cast<unsigned>(reason));
      if (!bare || type == PacketType::auth) this->properties(properties, type);
    });
  }

  Version version_;
  std::vector<std::uint8_t>& out_;
  Writer writer_;
};

unsigned connect_flags(const Connect& packet) noexcept {
  unsigned flags = packet.clean_start ? 0x02 : 0;
  if (packet.will) {
    flags |=
        0x04 | static_cast<unsigned>(packet.will->qos) << 3 | (packet.will->retain ? 0x20u : 0u);
  }
  if (packet.password) flags |= 0x40;
  if (packet.user_name) flags |= 0x80;
  return flags;
}

void Encoder::operator()(const Connect& packet) {
  version_ = packet.version;
  require(v5() || packet.user_name || !packet.password, "no password without a user name in 3.x");
  require(!v5() || !packet.bridge, "the bridge bit exists only in MQTT 3");
  header(PacketType::connect, 0, [&] {
    writer_.text(version_ == Version::v3_1 ? "MQIsdp" : "MQTT");
    writer_.byte(static_cast<unsigned>(version_) | (packet.bridge ? bridge_bit : 0));
    writer_.byte(connect_flags(packet));
    writer_.two_bytes(packet.keep_alive_seconds);
    properties(packet.properties, PacketType::connect);
    writer_.text(packet.client_id);
    if (packet.will) {
      if (v5()) encode_properties(packet.will->properties, PropertyScope::will, out_);
      writer_.text(packet.will->topic);
      writer_.text(packet.will->payload);
    }
    if (packet.user_name) writer_.text(*packet.user_name);
    if (packet.password) writer_.text(*packet.password);
  });
}

void Encoder::operator()(const Connack& packet) {
  header(PacketType::connack, 0, [&] {
    // 3.1 has no such flag; with a refusal it is 0. [MQTT-3.2.2-6]
    const bool present = packet.session_present && !is_failure(packet.reason);
    writer_.byte(present && version_ != Version::v3_1 ? 1 : 0);
    writer_.byte(v5() ? static_cast<unsigned>(packet.reason) : connack_return_code(packet.reason));
    properties(packet.properties, PacketType::connack);
  });
}

void Encoder::operator()(const Publish& packet) {
  const unsigned flags = (packet.dup ? 0x08u : 0u) | static_cast<unsigned>(packet.qos) << 1 |
                         (packet.retain ? 0x01u : 0u);
  header(PacketType::publish, flags, [&] {
    writer_.text(packet.topic);
    if (packet.qos != QoS::at_most_once) packet_id(packet.packet_id);
    properties(packet.properties, PacketType::publish);
    writer_.raw(packet.payload);
  });
}

void Encoder::operator()(const Subscribe& packet) {
  header(PacketType::subscribe, 0x02, [&] {  // [MQTT-3.8.1-1]
    packet_id(packet.packet_id);
    properties(packet.properties, PacketType::subscribe);
    require(!packet.subscriptions.empty(), "a SUBSCRIBE has at least one filter");
    for (const Subscription& subscription : packet.subscriptions) {
      writer_.text(subscription.filter);
      unsigned options = static_cast<unsigned>(subscription.qos);
      if (v5()) {
        options |= (subscription.no_local ? 0x04u : 0u) |
                   (subscription.retain_as_published ? 0x08u : 0u) |
                   static_cast<unsigned>(subscription.retain_handling) << 4;
      }
      writer_.byte(options);
    }
  });
}

void Encoder::operator()(const Suback& packet) {
  header(PacketType::suback, 0, [&] {
    packet_id(packet.packet_id);
    properties(packet.properties, PacketType::suback);
    reasons(packet.reasons);
  });
}

void Encoder::operator()(const Unsubscribe& packet) {
  header(PacketType::unsubscribe, 0x02, [&] {  // [MQTT-3.10.1-1]
    packet_id(packet.packet_id);
    properties(packet.properties, PacketType::unsubscribe);
    require(!packet.filters.empty(), "an UNSUBSCRIBE has at least one filter");
    for (const std::string& filter : packet.filters) writer_.text(filter);
  });
}

void Encoder::operator()(const Unsuback& packet) {
  header(PacketType::unsuback, 0, [&] {
    packet_id(packet.packet_id);
    properties(packet.properties, PacketType::unsuback);
    if (v5()) reasons(packet.reasons);
  });
}

void Encoder::operator()(const Disconnect& packet) {
  if (v5()) {
    reason_and_properties(PacketType::disconnect, packet.reason, packet.properties);
  } else {
    empty(PacketType::disconnect);
  }
}

void Encoder::operator()(const Auth& packet) {
  require(v5(), "AUTH exists only in MQTT 5");
  reason_and_properties(PacketType::auth, packet.reason, packet.properties);
}

}  // namespace

void encode(const Packet& packet, Version version, std::vector<std::uint8_t>& out) {
  std::visit(Encoder(version, out), packet);
}

}  // namespace millrace::protocol
