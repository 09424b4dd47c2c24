// [4] submit: what a front-end may ask of the processor, as one item of the elastic queue.
//
// Everything that changes routing or session state is a Command, in the one queue, in order. The
// commands of a connection begin with `connect` and end with `close`; the queue is FIFO per
// producer, so `outbox` is valid for each command in between and freed only after `close` was
// applied. A command of a connection that the processor has let go of (takeover, refused) is
// discarded: `outbox->attached()` is its epoch, and an outbox is never attached twice.
//
// Threads: made by one front-end, moved through the queue, applied by the processor.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/broker/message.hpp"
#include "core/broker/topic_rules.hpp"
#include "protocol/packet.hpp"
#include "protocol/reason_code.hpp"
#include "protocol/version.hpp"

namespace millrace::broker {

class Outbox;

// How a subscription is served; stronger modes compare greater. The contract is in the README.
enum class Mode : std::uint8_t { latest, adaptive, every };

enum class Overflow : std::uint8_t { drop_oldest, drop_newest, disconnect, backpressure };

enum class CommandKind : std::uint8_t {
  publish,          // message; one without a buffer was refused: message.qos, packet_id, reason
  connect,          // request: ConnectRequest
  subscribe,        // request: SubscribeRequest
  unsubscribe,      // request: UnsubscribeRequest
  puback,           // packet_id, reason
  pubrec,           // packet_id, reason
  pubrel,           // packet_id, reason
  pubcomp,          // packet_id, reason
  drained,          // bytes: of deliveries that were written since the last report
  drained_blocked,  // the same, and the socket refused some of them meanwhile
  close,            // reason, request: CloseRequest or none
  local,            // request: LocalRequest, of the control socket; no outbox
  limits,           // request: LimitsRequest, of a reload; no outbox
  announce,         // message: of the server's own making, not counted as published; no outbox
};

struct Request {
  virtual ~Request() = default;
};

// A CONNECT that was decoded, authenticated and allowed. The processor answers with
// Handover::connected (session_present) or by closing the outbox.
struct ConnectRequest : Request {
  struct Will {
    Message message;  // canonical, at its QoS and RETAIN, in a buffer of its own
    std::uint32_t delay_s = 0;
  };
  std::string client_id;  // never empty: the front-end assigned one
  protocol::Version version = protocol::Version::v3_1_1;
  bool clean_start = true;
  std::uint32_t session_expiry_s = 0;  // 0xFFFFFFFF: never; 3.1.1 without clean session: the limit
  std::uint16_t receive_maximum = 65535;
  std::uint32_t packet_bytes_max = 0;  // the client's Maximum Packet Size; 0: none
  std::optional<Will> will;
};

// One filter of a SUBSCRIBE, resolved by the front-end: validated, allowed, its mode chosen.
struct SubscriptionRequest {
  std::string name;         // as the client wrote it; what UNSUBSCRIBE must repeat
  std::string filter;       // the end of the name: without `$latest/` and `$share/group/`
  std::string share_group;  // empty: not shared
  std::uint8_t qos = 0;
  bool no_local = false;
  bool retain_as_published = false;
  std::uint8_t retain_handling = 0;
  Mode mode = Mode::adaptive;
  std::uint32_t interval_ms = 0;  // at least this long between two values of a topic; 0: no limit
  std::shared_ptr<const TopicRules> rules;  // which of its topics may be read; null: all
  // What SUBACK says if not the granted QoS: a refusal (>= 0x80) makes the processor skip it.
  std::optional<protocol::ReasonCode> refused;
};

struct SubscribeRequest : Request {
  std::uint16_t packet_id = 0;
  std::uint32_t identifier = 0;  // Subscription Identifier; 0: none
  std::vector<SubscriptionRequest> filters;
};

struct UnsubscribeRequest : Request {
  std::uint16_t packet_id = 0;
  std::vector<std::string> names;
};

struct CloseRequest : Request {
  // MQTT 5 DISCONNECT may change the session's expiry [MQTT-3.14.2-2].
  std::optional<std::uint32_t> session_expiry_s;
};

struct Command {
  CommandKind kind = CommandKind::publish;
  // close: ReasonCode::NormalDisconnection discards the will; any other publishes it.
  protocol::ReasonCode reason{};
  std::uint16_t packet_id = 0;
  std::uint32_t bytes = 0;  // drained: bytes written; publish: what it is charged for
  Outbox* outbox = nullptr;
  Message message;
  std::unique_ptr<Request> request;
};
static_assert(sizeof(Command) <= 72,
              "a command is one queue slot; keep it within a cache line or so");

}  // namespace millrace::broker
