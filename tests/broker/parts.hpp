// Parts: the parts of the processor with the real ones around them, and without the Processor, so
// that a test asks the part that it is about. The test begins in a batch.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/broker/backlog.hpp"
#include "core/broker/batch.hpp"
#include "core/broker/deliverer.hpp"
#include "core/broker/fan_out.hpp"
#include "core/broker/publisher_acks.hpp"
#include "core/broker/router.hpp"
#include "core/broker/session_timers.hpp"
#include "core/broker/values.hpp"
#include "tests/broker/messages.hpp"
#include "tests/broker/world.hpp"

namespace millrace::broker {

// As a receive buffer holds it: in the middle of more bytes than its own.
inline Message slice_of(const Message& whole) {
  Message slice = whole;
  slice.buffer = Buffer::allocate(whole.packet_bytes + 100);
  slice.buffer->received_ns = whole.buffer->received_ns;
  slice.packet_offset = 50;
  std::copy_n(whole.packet(), whole.packet_bytes, slice.buffer->data() + slice.packet_offset);
  return slice;
}

inline PendingEntry waiting(const Message& what, int qos = 0, std::uint32_t subscription = 1,
                            std::uint32_t interval_ms = 0) {
  PendingEntry entry;
  entry.delivery.message = what;
  entry.delivery.qos = static_cast<std::uint8_t>(qos);
  entry.subscription = subscription;
  entry.shape = rate_limit(interval_ms);
  return entry;
}

// A client with a session, whose connection can be lost.
class Client final : public OutboxOwner {
 public:
  Client(ReadyList& ready, std::string_view id, std::uint64_t number, protocol::Version version)
      : ready_(ready), version_(version) {
    session.client_id = id;
    session.number = number;
    session.expiry_s = never_expires;
    session.is_v5 = version == protocol::Version::v5;
    connect();
  }
  ~Client() {
    for (const OutboxRef& one : outboxes_) {
      one->session = nullptr;
      one->forget_owner();
    }
  }
  void on_outbox_ready() override {}

  void connect() {
    outbox = new Outbox(ready_, *this);
    outbox->version = version_;
    outbox->session = &session;
    session.outbox = outbox;
    outboxes_.push_back(outbox);  // the batch may still name it when the next one is there
  }
  // As Sessions does it, without what the parts do then.
  void lose_connection() {
    session.outbox = nullptr;
    outbox->session = nullptr;
  }

  // What was staged for it since the last call. A batch must have ended in between.
  std::vector<std::string> take_payloads() {
    std::vector<std::string> payloads;
    std::unique_ptr<Handover> handover = outbox->take();
    if (!handover) return payloads;
    for (const HandoverItem& item : handover->deliveries) {
      if (const auto* one = boost::variant2::get_if<Delivery>(&item)) {
        payloads.push_back(text_of(one->message));
        continue;
      }
      const auto& run = boost::variant2::unsafe_get<1>(item);
      std::span<const std::uint8_t> rest = run.packets();
      for (std::uint32_t i = 0; i < run.count; ++i) {
        const auto frame = **protocol::frame(rest, protocol::packet_bytes_limit, outbox->version);
        const auto view = *protocol::decode_publish(frame, rest.first(frame.packet_bytes),
                                                    outbox->version, protocol::Sender::server);
        payloads.emplace_back(view.payload.begin(), view.payload.end());
        rest = rest.subspan(frame.packet_bytes);
      }
    }
    return payloads;
  }
  std::vector<protocol::Packet> take_control() {
    std::vector<protocol::Packet> packets;
    std::unique_ptr<Handover> handover = outbox->take();
    if (!handover) return packets;
    std::span<const std::uint8_t> rest(handover->control.bytes());
    while (!rest.empty()) {
      const auto frame = **protocol::frame(rest, protocol::packet_bytes_limit, outbox->version);
      packets.push_back(*protocol::decode(frame, rest, outbox->version, protocol::Sender::server));
      rest = rest.subspan(frame.packet_bytes);
    }
    return packets;
  }

  OutboxRef outbox;  // of its connection, or of the last one
  Session session;

 private:
  ReadyList& ready_;
  const protocol::Version version_;
  std::vector<OutboxRef> outboxes_;
};

class Parts {
 public:
  explicit Parts(const ProcessorLimits& limits = {})
      : batch(limits),
        values(batch),
        router(batch, values.topics().routes()),
        publisher_acks(batch),
        backlog(batch,
                [this](Session& session, protocol::ReasonCode reason) {
                  disconnected.emplace_back(&session, reason);
                  client_of(session).lose_connection();
                  deliverer.part(session);
                }),
        deliverer({batch, timers, values, backlog, publisher_acks}),
        fan_out(batch, values, router, deliverer) {
    begin();
  }

  void begin() {
    batch.begin(now_ns);
    values.begin_batch();
  }
  // The end of a batch, as the processor ends it, and the next one.
  void next_batch(std::int64_t later_ns = 0) {
    values.store_noted(nullptr);
    deliverer.serve_all();
    batch.finish();
    deliverer.finish_batch();
    backlog.free_discarded();
    router.forget_ended();
    has_more = batch.has_more();
    now_ns += later_ns;
    begin();
  }

  Client& client(protocol::Version version = protocol::Version::v5) {
    const std::uint64_t number = clients.size() + 1;
    clients.push_back(
        std::make_unique<Client>(ready, "client " + std::to_string(number), number, version));
    return *clients.back();
  }
  Client& client_of(const Session& session) { return *clients.at(session.number - 1); }

  Subscription& subscribe(Client& client, const SubscriptionRequest& wanted,
                          std::uint32_t identifier = 0) {
    const auto subscribed = router.subscribe(client.session, wanted, identifier);
    if (subscribed.subscription == nullptr) throw std::length_error("no room for " + wanted.name);
    return *subscribed.subscription;
  }
  // Without a publish to it.
  Topic& topic(std::string_view name) {
    return values.topics().obtain(topic_hash(name), name, values.sequence());
  }
  std::size_t publish(const Message& what, Session* from = nullptr) {
    Message message = what;
    PublishContext context(message, from);
    Topic& topic = values.topic_of(message);
    return fan_out.publish(topic, router.route_of(topic), context);
  }
  std::uint64_t dropped(Drop why) {
    return batch.stats().dropped[static_cast<std::size_t>(why)].value();
  }

  std::int64_t now_ns = 1'000'000'000;
  bool has_more = false;  // the batch that ended last asked for another one
  ReadyList ready{[] {}};
  std::vector<std::pair<Session*, protocol::ReasonCode>> disconnected;  // by the backlog

  Batch batch;
  SessionTimers timers;
  Values values;
  Router router;
  PublisherAcks publisher_acks;
  Backlog backlog;
  Deliverer deliverer;
  FanOut fan_out;
  std::vector<std::unique_ptr<Client>> clients;  // their subscriptions are in the router's index
};

inline SubscriptionRequest to(std::string filter, int qos = 0, Mode mode = Mode::every) {
  SubscriptionRequest wanted;
  wanted.name = wanted.filter = std::move(filter);
  wanted.qos = static_cast<std::uint8_t>(qos);
  wanted.mode = mode;
  return wanted;
}

}  // namespace millrace::broker
