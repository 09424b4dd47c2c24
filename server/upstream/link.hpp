// Link: one connection to an upstream, from the connected socket to its end: the client's role in
// MQTT, and a front-end of the processor like a client's connection.
//
// What comes in is renamed by the rules and submitted as publishes of a session that this upstream
// has in the processor; what goes out is what that session subscribed to, renamed as it is encoded.
// So acknowledgements at every QoS, credit, window, conflation and what waits while the link is down
// are those of any session.
//
// Its life: opening (TLS), greeting (CONNECT is sent, CONNACK awaited), up, closing, lingering,
// closed; as a Connection's (server/mqtt/connection.hpp), with the same parts.
//
// Always: what came from the upstream never goes back to it: its subscriptions here have No Local,
// and stored values know where they came from (broker::ConnectRequest::origin). The owner hears of
// the end exactly once, when the socket is closed.
//
// Threads: its I/O thread alone. It holds itself from start() until it has left.
//
// The definitions stand by subject: link.cpp (life and time), link_read.cpp, link_write.cpp,
// link_subscribe.cpp.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/broker/command.hpp"
#include "core/broker/outbox.hpp"
#include "protocol/frame.hpp"
#include "protocol/packet.hpp"
#include "protocol/publish.hpp"
#include "server/mqtt/inbound_aliases.hpp"
#include "server/mqtt/packet_reader.hpp"
#include "server/mqtt/submission.hpp"
#include "server/mqtt/writer.hpp"
#include "server/net/io_thread.hpp"
#include "server/net/stream.hpp"
#include "server/upstream/greeting.hpp"
#include "server/upstream/link_owner.hpp"
#include "server/upstream/plan.hpp"
#include "server/upstream/stats.hpp"

namespace millrace::server {

class Link final : public StreamUser,
                   public UpstreamLink,
                   public Resident,
                   private broker::OutboxOwner,
                   private HeaderEditor {
 public:
  struct Setting {
    UpstreamPlanRef plan;
    std::shared_ptr<UpstreamStats> stats;
    Dialect dialect = Dialect::v5;
    std::vector<std::string> stale;  // what plans before this one had subscribed to there
    bool rules_changed = false;      // what waits may be by rules that are no more
    bool subscribed_before = false;  // by a link of this plan: a session that is resumed has it all
    // By rule: whether anybody here subscribes to something of it. Unset: not known yet.
    std::optional<std::vector<bool>> demand;
    std::string_view transport = "tcp";
  };
  // It holds the owner until it is closed.
  Link(IoThread& thread, std::shared_ptr<LinkOwner> owner, std::unique_ptr<Stream> stream,
       Setting setting);

  // --- UpstreamLink ---
  void start() override;
  void set_demand(std::vector<bool> wanted) override;
  void leave_politely(std::string why) override;

  // --- StreamUser ---
  void on_open() override;
  void on_open_failed() override;
  void on_readable() override;
  void on_writable() override;

  // --- Resident ---
  void on_due() override;
  void apply_settings() override {}
  void stop_reading() override { read_stopped_ = true; }
  void end(Which which) override;
  void abandon() override;

 private:
  enum class State : std::uint8_t { opening, greeting, up, closing, lingering, closed };
  using ReasonCode = protocol::ReasonCode;
  using Bytes = std::span<const std::uint8_t>;
  using Why = LinkEnd::Why;

  // What the upstream was asked for, of one rule.
  enum class Asked : std::uint8_t { unknown, nothing, all, never };
  // A SUBSCRIBE or UNSUBSCRIBE that waits for its turn, or for its answer.
  struct Request {
    protocol::PacketType answer = protocol::PacketType::suback;
    std::vector<std::string> filters;
    std::vector<std::uint8_t> packet;
  };

  // --- link.cpp ---
  void describe(broker::ConnectionFacts& facts) const override;
  void schedule(std::uint32_t ticks);
  void set_patience(std::uint32_t ticks);
  void keep_alive();
  void send_ping();
  std::uint32_t silent_ticks();
  void close(LinkEnd end, std::optional<ReasonCode> tell = {});
  void finish_closing();
  bool await_answers();
  void lost();
  void leave();
  void release_if_done();
  bool ended() const { return state_ >= State::closing; }
  bool is_v5() const { return version_ == protocol::Version::v5; }
  const Config& config() const { return thread_.config(); }

  // --- link_read.cpp ---
  bool read_once();
  void read_on();
  void on_received(ReceivedBytes& received);
  void handle_packets(ReceivedBytes& received);
  void keep_rest(const ReceivedBytes& received);
  void discard_input();
  bool must_pause() const;
  bool may_resume() const;
  void resume_reading();
  // Each says whether to go on with the next packet.
  bool handle_packet(const protocol::Frame& frame, Bytes packet, ReceivedBytes& received);
  bool handle_connack(const protocol::Frame& frame, Bytes packet);
  bool handle_ack(const protocol::Frame& frame, Bytes packet);
  bool handle_other(const protocol::Frame& frame, Bytes packet);
  bool handle_publish(const protocol::Frame& frame, Bytes packet, ReceivedBytes& received);
  bool fault(ReasonCode reason, std::string_view what);
  void refuse_publish(const protocol::PublishView& view, LinkRefusal why);
  void submit_anew(const protocol::PublishView& view, const TopicMap::Rule& rule,
                   std::string_view topic);

  // --- link_subscribe.cpp ---
  void come_up(const protocol::Connack& connack);
  void open_session();
  void subscribe_here();
  void queue_requests();
  void follow_demand();
  bool is_wanted(std::size_t rule) const;
  void queue_subscribes(const std::vector<std::size_t>& rules);
  void queue_unsubscribe(std::vector<std::string> filters);
  void send_request();
  bool can_serve(const TopicMap::Rule& rule);
  void send_next_request();
  bool handle(const protocol::Suback& suback);
  bool handle(const protocol::Unsuback& unsuback);

  // --- link_write.cpp ---
  void on_outbox_ready() override;
  bool take_handover();
  void remove_what_may_not_cross(broker::Handover& handover);
  void edit(protocol::PublishHeader& header, const broker::Message& message) override;
  void send(const protocol::Packet& packet);
  void write();
  void report_drained();
  void apply_binding();

  IoThread& thread_;
  std::shared_ptr<LinkOwner> owner_;  // null: closed
  const Setting setting_;
  const UpstreamPlan& plan_;
  UpstreamStats& stats_;
  std::unique_ptr<Stream> stream_;
  PacketReader reader_;
  Submission submission_;
  Writer writer_;
  LinkTerms terms_;
  InboundAliases aliases_in_;
  std::deque<Request> requests_;  // the first one is sent
  std::optional<std::vector<bool>> demand_;
  std::vector<Asked> asked_;  // by rule
  std::optional<LinkEnd> end_;
  std::optional<ReasonCode> goodbye_;  // DISCONNECT with this, once all is written

  // What edit() hands out.
  std::string edited_topic_;
  std::vector<std::uint8_t> edited_properties_;

  std::uint64_t bytes_received_ = 0;
  std::uint64_t bytes_sent_ = 0;
  std::uint64_t messages_received_ = 0;
  std::uint32_t last_received_tick_ = 0;
  std::uint32_t last_sent_tick_ = 0;
  std::uint32_t connected_tick_ = 0;
  std::uint32_t patience_ends_tick_ = 0;  // but for `up`: when the state has taken too long
  std::uint32_t last_ping_tick_ = 0;
  std::uint32_t last_sign_tick_ = 0;   // of the upstream, since the PINGREQ
  std::uint64_t pinged_at_bytes_ = 0;  // so many were sent before it
  std::uint64_t taken_bytes_ = 0;      // so many of all were taken, when it was looked at last
  bool ping_taken_ = false;
  std::int64_t ping_sent_ns_ = 0;  // 0: none is unanswered
  const protocol::Version version_;
  State state_ = State::opening;
  bool edits_ : 1 = false;  // deliveries are not written as they are
  bool reading_paused_ : 1 = false;
  bool read_stopped_ : 1 = false;
  bool write_blocked_ : 1 = false;
  bool was_blocked_ : 1 = false;  // since the last report of what drained
  bool in_read_ : 1 = false;
  bool hold_rest_ : 1 = false;
  bool leaves_now_ : 1 = false;  // while closing: nothing is to be said
  bool answered_ : 1 = false;    // while closing: no more answers will come
  bool released_ : 1 = false;
  broker::Outbox::Binding binding_ = broker::Outbox::Binding::early;
};

}  // namespace millrace::server
