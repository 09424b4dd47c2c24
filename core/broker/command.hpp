// Commands: what a front-end may ask of the processor, as one item of the elastic queue.
//
// Everything that changes routing or session state is a Command, in the one queue, in order. The
// commands of a connection begin with Connect and end with Close; the queue is FIFO per producer,
// so `outbox` is valid for each command in between and freed only after Close was applied. Between
// Connect and Close, a command of a connection that has no session any more (it was taken over,
// disconnected or refused) is discarded: see Outbox::attached(). An outbox is attached to a session
// at most once, so a late command never reaches the session of a later connection.
//
// A command is moved several times, so its body is small: what is large, and rare, is held by a
// pointer.
//
// Threads: made by one front-end, moved through the queue, applied by the processor.
#pragma once

#include <boost/mp11/algorithm.hpp>
#include <boost/variant2/variant.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/broker/client_id.hpp"
#include "core/broker/inquiry.hpp"
#include "core/broker/ledger.hpp"
#include "core/broker/limits.hpp"
#include "core/broker/message.hpp"
#include "core/broker/outbox.hpp"
#include "core/broker/publish_refusal.hpp"
#include "core/broker/rights.hpp"
#include "core/broker/shape.hpp"
#include "core/broker/spool_figures.hpp"
#include "core/broker/topic_rules.hpp"
#include "core/shm/wire/wire.hpp"
#include "protocol/packet.hpp"
#include "protocol/reason_code.hpp"
#include "protocol/version.hpp"

namespace millrace::broker {

// How a subscription is served; stronger modes compare greater. See docs/delivery.md.
enum class Mode : std::uint8_t { latest, adaptive, every };

// A CONNECT that was decoded, authenticated and allowed. The processor answers with
// Handover::connected (session_present) or by closing the outbox.
struct ConnectRequest {
  struct Will {
    Message message;  // canonical, at its QoS and RETAIN, in a buffer of its own
    std::uint32_t delay_s = 0;
  };
  // Names the session. Never empty: the front-end assigned one.
  ClientId client_id;
  protocol::Version version = protocol::Version::v3_1_1;
  bool clean_start = true;
  std::uint32_t session_expiry_s = 0;  // 0xFFFFFFFF: never; 3.1.1 without clean session: the limit
  std::uint16_t receive_maximum = 65535;
  std::uint32_t packet_bytes_max = 0;  // the client's Maximum Packet Size; 0: none
  std::optional<Will> will;
  // How it came (Arrival), where rules may ask; else empty.
  std::string address;
  std::uint16_t listener = UINT16_MAX;
  RightsRef rights;  // null: an owner without a name, who may do everything and is never reviewed
  // Of a link to another broker, a number of its upstream's own; 0: a client. What came from it
  // (Buffer::origin) is never sent back to it as a stored value, as No Local keeps live messages
  // from it; and its publishes are acknowledged as a client may acknowledge them.
  std::uint16_t origin = 0;
  // Of such a link: what may wait for it, unset as for a client; and where that is shown, if at all.
  std::optional<QueueLimits> queue;
  std::shared_ptr<SpoolFigures> figures;
  // The peer of such a link has lost its half of the session: what it had sent at QoS 2 is over.
  bool peer_forgot = false;
  // Keeps the outbox until the processor has its own reference, however soon the connection ends.
  // Null: the front-end keeps it.
  OutboxRef keeps;
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
  // Of a link, in the mode `every`: who publishes at QoS 1 or 2 is acknowledged when the link's peer
  // has acknowledged. See AwaitedAcks.
  bool confirms = false;
  Mode mode = Mode::adaptive;
  ShapeRef shape;  // null: none
  // The subscriber has had everything up to this publish (Handover::complete_to): of the stored
  // values it gets only later ones, and learns which topics were cleared since. 0: it has nothing.
  std::uint64_t newer_than = 0;
  // It begins with so many of the last values of each topic, the oldest first, as far as they are kept
  // (History), and what is published meanwhile comes after them. 0: as any other.
  std::uint32_t history = 0;
  std::shared_ptr<const TopicRules> rules;  // which of its topics may be read; null: all
  // What SUBACK says if not the granted QoS: a refusal (>= 0x80) makes the processor skip it.
  std::optional<protocol::ReasonCode> refused;
};

// What a request of many filters takes until it is applied, which may take several batches.
struct RequestSize {
  std::uint32_t charged_bytes = 0;  // of its connection's limit: see Command::charged_bytes()
  ConnectionCharge charge;
};

struct SubscribeRequest {
  std::uint16_t packet_id = 0;        // 0: a front-end of the server's own, which needs no SUBACK
  std::uint32_t identifier = 0;       // Subscription Identifier; 0: none
  std::uint64_t rights_revision = 0;  // Rights::revision by which `filters` were allowed
  std::vector<SubscriptionRequest> filters;
  std::uint32_t beyond = 0;  // so many more were asked for than a client may have
  // Of SUBACK, where an MQTT 5 client has room for them: user properties `granted`, one for all
  // filters or one for each; and what is wrong with what was asked for.
  std::vector<std::string> granted;
  std::string fault;
  RequestSize size;
  std::vector<protocol::ReasonCode> answers;  // the processor's: to the first of them
};

struct UnsubscribeRequest {
  std::uint16_t packet_id = 0;  // 0: see SubscribeRequest
  std::vector<std::string> names;
  RequestSize size;
  std::vector<protocol::ReasonCode> answers;
};

// A message of a front-end that has no session for who publishes it: over HTTP, or in shared memory.
struct PublishRequest {
  Message message;
  std::uint32_t charged_bytes = 0;  // what the queue is charged for it
  RightsRef rights;                 // whose it is; null: an owner without a name
  // Called by the processor when the value is stored, or refused: then nothing of the message has
  // happened. Null: there is nobody to tell, so that a value that may not be retained is delivered
  // all the same, as it is for a client that cannot be told.
  std::function<void(std::optional<PublishRefusal> why)> done;
};

// Of a client at the control socket of shared memory.
struct LocalRequest {
  enum class What : std::uint8_t { ask, gone };
  What what = What::ask;
  std::uint64_t client = 0;  // shm::ClientId
  shm::Request request;
};

// Every session is to be judged by new rights.
struct ReviewRequest {
  std::shared_ptr<const Authority> authority;
  std::function<void()> done;  // called by the processor once all are; may be null
};

// Somebody who manages the server ends a client's connection, and on request its session.
struct ExpelRequest {
  std::string client_id;
  bool with_session = false;
  std::function<void(bool found)> done;  // called by the processor
};

// Somebody who brings messages from elsewhere wants to know for which filters anybody here subscribes to
// any; see Demand.
struct WatchRequest {
  std::uint16_t origin = 0;          // whose own subscriptions do not count: see ConnectRequest
  std::vector<std::string> filters;  // none: it wants to know no more
  // Called by the processor: for each filter, whether somebody does.
  std::function<void(std::vector<bool> wanted)> tell;
};

namespace command {

struct Publish {
  Message message;
  std::uint32_t charged_bytes = 0;  // what the connection and the queue are charged for it
};
// The front-end refused it: all that is left to do is to acknowledge it in its turn.
struct RefusedPublish {
  std::uint16_t packet_id = 0;
  std::uint8_t qos = 1;
  protocol::ReasonCode reason{};
};
// A Publish of somebody who has no session, but a name, to which what is retained is charged.
struct PublishFor {
  std::unique_ptr<PublishRequest> request;
};
struct Connect {
  std::unique_ptr<ConnectRequest> request;
};
struct Subscribe {
  std::unique_ptr<SubscribeRequest> request;
};
struct Unsubscribe {
  std::unique_ptr<UnsubscribeRequest> request;
};
struct Puback {
  std::uint16_t packet_id = 0;
  protocol::ReasonCode reason{};
};
struct Pubrec {
  std::uint16_t packet_id = 0;
  protocol::ReasonCode reason{};
};
struct Pubrel {
  std::uint16_t packet_id = 0;
  protocol::ReasonCode reason{};
};
struct Pubcomp {
  std::uint16_t packet_id = 0;
  protocol::ReasonCode reason{};
};
// Deliveries were written since the last report.
struct Drained {
  std::uint32_t bytes = 0;
  bool blocked = false;  // the socket refused some of them meanwhile, or the reader seemed full
  // What may be bound from now on while values may be replaced; nothing: what is configured.
  std::optional<std::uint32_t> late_credit_bytes = std::nullopt;
};
struct Close {
  // NormalDisconnection discards the will; any other publishes it.
  protocol::ReasonCode reason{};
  // MQTT 5 DISCONNECT may change the session's expiry [MQTT-3.14.2-2].
  std::optional<std::uint32_t> session_expiry_s;
};

// --- Of the server's own front-ends, without an outbox ------------------------------------------

// A Publish without an outbox is a local publisher's, and not retained: see PublishFor.

// A message of the server's own making ($SYS), not counted as published.
struct Announce {
  std::unique_ptr<Message> message;
};
struct Local {
  std::unique_ptr<LocalRequest> request;
};
// The configuration was loaded anew.
struct Limits {
  std::unique_ptr<ProcessorLimits> limits;
};
struct Review {
  std::unique_ptr<ReviewRequest> request;
};
struct Inquire {
  std::unique_ptr<Inquiry> inquiry;
};
struct Expel {
  std::unique_ptr<ExpelRequest> request;
};
struct Watch {
  std::unique_ptr<WatchRequest> request;
};
// The store has everything up to that batch on the disk.
struct Committed {
  std::uint64_t number = 0;
};

// All but publishes: these may use the queue's reserve.
using Control = boost::variant2::variant<Connect, Subscribe, Unsubscribe, Puback, Pubrec, Pubrel,
                                         Pubcomp, Drained, Close, Announce, Local, Limits, Review,
                                         Inquire, Expel, Watch, Committed>;
// In two levels, so that to move and to destroy a publish takes few instructions.
using Body = boost::variant2::variant<Publish, RefusedPublish, PublishFor, Control>;

// Null: it is another. Of a Body, const or not.
template <class What, class AnyBody>
auto* get_if(AnyBody& body) {
  if constexpr (boost::mp11::mp_contains<Body, What>::value) {
    return boost::variant2::get_if<What>(&body);
  } else {
    auto* const control = boost::variant2::get_if<Control>(&body);
    return control == nullptr ? nullptr : boost::variant2::get_if<What>(control);
  }
}

}  // namespace command

struct Command {
  Outbox* outbox = nullptr;  // of the connection; null: of a front-end of the server's own
  command::Body body;

  template <class What>
  What* get_if() {
    return command::get_if<What>(body);
  }
  template <class What>
  const What* get_if() const {
    return command::get_if<What>(body);
  }
  // What it takes of the limits of its connection and of the queue.
  std::uint32_t charged_bytes() const {
    if (const auto* publish = get_if<command::Publish>()) [[likely]]
      return publish->charged_bytes;
    if (const auto* publish_for = get_if<command::PublishFor>()) {
      return publish_for->request->charged_bytes;
    }
    if (const auto* subscribe = get_if<command::Subscribe>()) {
      return subscribe->request->size.charged_bytes;
    }
    const auto* unsubscribe = get_if<command::Unsubscribe>();
    return unsubscribe != nullptr ? unsubscribe->request->size.charged_bytes : 0;
  }
};
static_assert(sizeof(Command) <= 72,
              "a command is one queue slot; keep it within a cache line or so");
static_assert(std::is_nothrow_move_constructible_v<Command>);

}  // namespace millrace::broker
