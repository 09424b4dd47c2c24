// NatsLink: one connection to an upstream that is a NATS server, from the attempt to its end. As a Link
// (link.hpp) it is a front-end of the processor with the upstream's session, so what waits, conflates
// and expires does so as for any session; topics become subjects (nats_subject.hpp), and libnats does
// the rest (nats_client.hpp).
//
// Its life: connecting, up, closing, closed.
//
// QoS 0 is core NATS. What leaves at QoS 1, by a rule with `jetstream`, has a reply subject: the stream's
// answer there is its PUBACK. What has none in time is sent again, under the same Nats-Msg-Id. So that
// it changes places with nothing, the next of its subject waits for that answer (nats_order.hpp).
//
// Always: what came from the upstream never goes back to it, by No Local and origin as in a Link, and
// by `no echo` there. The owner hears of the end exactly once.
//
// Threads: its I/O thread alone. It holds itself from start() until it has left.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/broker/command.hpp"
#include "core/broker/outbox.hpp"
#include "server/mqtt/submission.hpp"
#include "server/net/io_thread.hpp"
#include "server/upstream/link_owner.hpp"
#include "server/upstream/nats_client.hpp"
#include "server/upstream/nats_order.hpp"
#include "server/upstream/plan.hpp"
#include "server/upstream/stats.hpp"

namespace millrace::server {

class NatsLink final : public UpstreamLink,
                       public Resident,
                       public std::enable_shared_from_this<NatsLink>,
                       private NatsOwner,
                       private broker::OutboxOwner {
 public:
  struct Setting {
    UpstreamPlanRef plan;
    std::shared_ptr<UpstreamStats> stats;
    UpstreamAddress address;
    std::optional<std::vector<bool>> demand;  // by rule; unset: not known yet
  };
  // It holds the owner until it is closed.
  NatsLink(IoThread& thread, std::shared_ptr<LinkOwner> owner, Setting setting);

  // --- UpstreamLink ---
  void start() override;
  void set_demand(std::vector<bool> wanted) override;
  void leave_politely(std::string why) override;

  // --- Resident ---
  void on_due() override;
  void apply_settings() override {}
  void stop_reading() override { read_stopped_ = true; }
  void end(Which which) override;
  void abandon() override;

 private:
  enum class State : std::uint8_t { connecting, up, closing, closed };
  using ReasonCode = protocol::ReasonCode;
  using Why = LinkEnd::Why;

  // A message that has left, and that no stream has acknowledged.
  struct Pending {
    std::uint64_t number = 0;
    NatsClient::Outgoing message;
    std::uint32_t again_tick = 0;
  };
  using PendingMap = std::map<std::uint16_t, Pending>;  // by packet identifier

  void on_nats_events() override;
  void on_outbox_ready() override;
  void describe(broker::ConnectionFacts& facts) const override;

  void come_up();
  void follow_demand();
  void take_in();
  void take_in_one(natsMsg& message);
  void refuse(LinkRefusal why, std::uint64_t count = 1);
  void take_handover();
  std::optional<LinkRefusal> prepare(const broker::Delivery& delivery,
                                     NatsClient::Outgoing& message);
  void put_out(NatsClient::Outgoing message);
  void send_leaving();
  void finish(PendingMap::iterator pending, ReasonCode reason);
  void settle(std::uint16_t packet_id, ReasonCode reason);
  void take_ack(natsMsg& message);
  void send_again();
  void tell_once(std::string_view subject, std::string why);
  void close(LinkEnd end);
  void leave();
  void release_if_done();
  void schedule(std::uint32_t ticks);
  bool ended() const { return state_ >= State::closing; }
  const Config& config() const { return thread_.config(); }

  IoThread& thread_;
  std::shared_ptr<LinkOwner> owner_;  // null: closed
  const Setting setting_;
  const UpstreamPlan& plan_;
  UpstreamStats& stats_;
  Submission submission_;
  const std::shared_ptr<NatsClient> client_;
  std::shared_ptr<NatsLink> keep_;  // itself
  LinkTerms terms_;
  std::optional<std::vector<bool>> demand_;
  std::vector<bool> asked_;           // by rule
  std::deque<NatsMessage> incoming_;  // that wait for the processor
  std::string inbox_;                 // where streams answer; empty: no rule has `jetstream`
  PendingMap pending_;
  NatsOrder order_;
  std::vector<NatsClient::Outgoing> leaving_;  // until send_leaving()
  std::uint64_t last_number_ = 0;
  std::set<std::string> told_;
  std::optional<LinkEnd> end_;
  std::uint64_t messages_received_ = 0;
  std::uint64_t messages_sent_ = 0;
  std::uint32_t connected_tick_ = 0;
  std::uint32_t closing_ends_tick_ = 0;
  State state_ = State::connecting;
  bool subscribed_ = false;
  bool read_stopped_ = false;
};

}  // namespace millrace::server
