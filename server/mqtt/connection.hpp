// Connection: one MQTT client, from accept to close, over whatever transport carries it.
//
// It is the life cycle over parts that each own their state: PacketReader (bytes to packets),
// Handshake (CONNECT to CONNACK), Submission (commands to the processor), HeldAnswers (answers that
// wait for earlier ones), Writer (deliveries to bytes). Per read it makes one submission, per
// hand-over as few writes as the socket takes.
//
// Its life: opening, awaiting_connect, checking or authenticating, connecting, connected, closing,
// lingering, closed.
//     checking:       the worker looks at the password of a CONNECT
//     authenticating: AUTH packets go to and fro
//     connecting:     Connect was submitted, CONNACK waits for the processor
//     closing:        nothing is read any more; the answers to what was read, and a last packet,
//                     are being written
//     lingering:      all is written; waits for the peer to close, as closing a socket that holds
//                     unread bytes resets it, and the peer could lose the last packets
//
// Always: Connect is submitted at most once, and if it was, Close is submitted exactly once, last,
// however the connection ends. Answers keep the order of their questions: what the connection
// answers by itself (PINGRESP, AUTH, DISCONNECT) waits for what it has submitted.
//
// Threads: its I/O thread alone. It holds itself from start() until it has left.
//
// The definitions stand by subject: connection.cpp (life and time), connection_read.cpp (a read and
// its packets), connection_handshake.cpp, connection_backpressure.cpp, connection_publish.cpp,
// connection_subscribe.cpp, connection_write.cpp, connection_trace.cpp.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/broker/command.hpp"
#include "core/broker/outbox.hpp"
#include "core/broker/rare.hpp"
#include "protocol/frame.hpp"
#include "protocol/packet.hpp"
#include "protocol/publish.hpp"
#include "server/auth/access.hpp"
#include "server/config/config.hpp"
#include "server/mqtt/connection_log.hpp"
#include "server/mqtt/guest.hpp"
#include "server/mqtt/handshake.hpp"
#include "server/mqtt/held_answers.hpp"
#include "server/mqtt/inbound_aliases.hpp"
#include "server/mqtt/packet_reader.hpp"
#include "server/mqtt/submission.hpp"
#include "server/mqtt/writer.hpp"
#include "server/net/io_thread.hpp"
#include "server/net/late_binding.hpp"
#include "server/net/stream.hpp"
#include "server/observe/trace.hpp"

namespace millrace::server {

class Connection final : public StreamUser,
                         public Resident,
                         private broker::OutboxOwner,
                         private HandshakeUser,
                         private LateBinding::User {
 public:
  // `turned_away`: there is no room, and its CONNECT will be told so.
  Connection(IoThread& thread, const ListenerConfig& listener, std::unique_ptr<Stream> stream,
             bool turned_away = false);
  ~Connection() override;

  void start();

  // --- StreamUser ---
  void on_open() override;
  void on_open_failed() override;
  void on_readable() override;
  void on_writable() override;

  // --- Resident ---
  void on_due() override;
  void apply_settings() override;
  void relieve_memory() override;
  void stop_reading() override;
  void end(Which which) override;
  void abandon() override;

 private:
  enum class State : std::uint8_t {
    opening,
    awaiting_connect,
    checking,
    authenticating,
    connecting,
    connected,
    closing,
    lingering,
    closed,
  };
  using ReasonCode = protocol::ReasonCode;
  using Bytes = std::span<const std::uint8_t>;

  // Why and how it ends.
  struct Ending {
    ReasonCode reason;  // for the processor (a will is published unless it is normal) and the peer
    CloseCause cause;
    bool tell_peer = false;     // DISCONNECT, or a refusing CONNACK, where the version has one
    bool by_processor = false;  // what it had to say has been taken already
  };

  // What few connections have.
  struct Uncommon {
    std::unique_ptr<Guest> guest;              // null: nothing of the kind is limited
    std::unique_ptr<std::string> state_topic;  // of another broker's bridge; null: it is none
    std::unique_ptr<DeliveryWish> wish;        // of CONNECT; null: none
    std::uint32_t expires_tick = 0;            // when the client must have shown a newer token
  };

  // The PUBLISH packets of one read, counted once at its end.
  struct ReadCounts {
    std::array<std::uint32_t, qos_count> messages{};
    std::array<std::uint64_t, qos_count> payload_bytes{};
    std::uint64_t spelled_out_bytes = 0;  // of packets that came with a topic alias
  };

  // --- connection.cpp ---
  std::uint64_t charged_bytes() const;  // to the ledger
  void schedule_check();
  Guest* guest() const { return uncommon_.is_made() ? uncommon_.read().guest.get() : nullptr; }
  void make_guest();
  bool speaks_for_itself() const;
  bool is_welcome();  // by the limits for addresses; else it is closed, or its CONNECT refused
  bool has_rate_limit() const { return guest() != nullptr && guest()->limits_rate(); }
  bool is_over_rate() const { return has_rate_limit() && guest()->must_wait(); }
  void note_expiry();  // of grants_, which are new
  bool has_expired(std::uint32_t tick) const {
    return expires_ && static_cast<std::int32_t>(tick - uncommon_.read().expires_tick) >= 0;
  }
  // Starts to end; commands of the current read come first. `new_expiry_s`: of the session, that
  // the client's DISCONNECT asks for.
  void close(Ending ending, std::optional<std::uint32_t> new_expiry_s = std::nullopt);
  void finish_closing();
  bool await_answers();
  void say_farewell();
  LogClient log_client() const;
  bool certificate_holds() const;
  void lost();   // the transport failed
  void leave();  // closes the transport
  void release_if_done();
  bool past_connect() const { return submission_.is_open(); }
  bool ended() const { return state_ >= State::closing; }

  // --- connection_read.cpp ---
  bool read_once();
  void on_received(ReceivedBytes& received);
  void handle_packets(ReceivedBytes& received, ReadCounts& counts);
  void count(const ReadCounts& counts);
  void keep_rest(const ReceivedBytes& received);
  void refuse_bytes();
  void discard_input();
  // Each says whether to go on with the next packet.
  bool handle_packet(const protocol::Frame& frame, Bytes packet, ReceivedBytes& received,
                     ReadCounts& counts);
  bool handle_ack(const protocol::Frame& frame, Bytes packet);
  bool handle_other(const protocol::Frame& frame, Bytes packet);
  bool handle(protocol::Disconnect& packet);
  bool fault(ReasonCode reason);

  // --- connection_handshake.cpp ---
  // These two say whether to go on with the next packet.
  bool handle_connect(const protocol::Frame& frame, Bytes packet);
  bool follow(Handshake::Step step);
  void accept();
  void on_password_checked() override;
  std::optional<std::string> certified_user() const override;
  std::string client_address() const override;
  std::uint16_t listener_number() const override;

  // --- connection_backpressure.cpp ---
  void read_on();  // asks for the next read, unless a limit says to pause
  bool must_pause() const;
  bool may_resume() const;
  void resume_reading();
  void ask_to_read();
  std::size_t control_bytes() const;

  // --- connection_subscribe.cpp ---
  bool handle(protocol::Subscribe& packet);
  bool handle(protocol::Unsubscribe& packet);
  template <class Request>
  bool add_request(std::unique_ptr<Request> request, std::uint64_t bytes);
  // Returns what is wrong with how it was asked for; empty: nothing that needs words.
  std::string resolve(const protocol::Subscription& wanted, const DeliveryWish& wish,
                      bool has_identifier, broker::SubscriptionRequest& resolved);

  // --- connection_publish.cpp ---
  bool handle_publish(const protocol::Frame& frame, Bytes packet, ReceivedBytes& received,
                      ReadCounts& counts);
  std::optional<ReasonCode> resolve_alias(protocol::PublishView& view);
  std::optional<ReasonCode> refusal_of(const protocol::PublishView& view);
  void refuse_publish(const protocol::PublishView& view, ReasonCode reason);
  void drop_over_rate(const protocol::PublishView& view);
  bool count_unacknowledged();
  void submit_spelled_out(const protocol::PublishView& view, ReadCounts& counts);

  // --- connection_trace.cpp: for the traces that run; asked only if tracing() ---
  template <class TextOf>
  void trace(TraceKind kind, std::string_view topic, TextOf&& text_of) const {
    const auto address_of = [this] {
      return stream_->fd() >= 0 ? stream_->peer().host : std::string();
    };
    const LogClient client = log_client();
    traces().record(kind, {client.id, client.user}, topic, address_of, text_of);
  }
  void trace_packet(TraceKind kind, protocol::PacketType type, std::size_t bytes) const;
  void trace_packets(TraceKind kind, Bytes packets) const;
  void trace_publish(TraceKind kind, const protocol::PublishView& view) const;
  void trace_filter(std::string_view packet, std::string_view filter) const;
  void trace_handover(const broker::Handover& handover) const;

  // --- connection_write.cpp ---
  void on_outbox_ready() override;
  void describe(broker::ConnectionFacts& facts) const override;
  bool take_handover();
  void send_connack(bool session_present);
  void count_control(protocol::ControlPackets& control);
  void answer(Bytes packet, protocol::PacketType type);
  bool release_answers();
  void write();
  void report_drained();
  void on_reader_progress() override;
  void apply_binding();

  IoThread& thread_;
  const ListenerConfig& listener_;  // the Listener's copy, which outlives its connections
  std::unique_ptr<Stream> stream_;
  std::shared_ptr<const Grants> grants_;  // the client's rights; null before it is admitted
  // Without an address of its own, so that the members after it may use the padding at its end.
  [[no_unique_address]] PacketReader reader_;
  State state_ = State::opening;
  protocol::Version version_ = protocol::Version::v5;
  std::uint32_t last_sent_tick_ = 0;  // here, where there would be padding
  [[no_unique_address]] Submission submission_;
  std::optional<Ending> ending_;
  [[no_unique_address]] Writer writer_;
  broker::Outbox::Binding binding_ = broker::Outbox::Binding::early;
  std::unique_ptr<LateBinding> late_;           // null: it does not bind late
  std::unique_ptr<Handshake> handshake_;        // null: it is over
  std::unique_ptr<HeldAnswers> held_;           // null: none
  std::unique_ptr<InboundAliases> aliases_in_;  // null: none yet
  broker::Rare<Uncommon> uncommon_;
  broker::ClientId client_id_;  // the session's name; until CONNACK the client's own

  std::uint64_t bytes_received_ = 0;  // from the socket, since CONNECT
  std::uint64_t bytes_sent_ = 0;
  std::uint32_t connected_tick_ = 0;
  std::uint32_t last_received_tick_ = 0;
  std::uint32_t partial_since_tick_ = 0;  // the packet of which reader_ keeps a part
  std::uint32_t patience_ticks_ = 0;      // silence, or time in this state, that is allowed; 0: any
  std::uint32_t unacknowledged_ = 0;      // QoS 1 and 2 received and not answered
  std::uint32_t packet_bytes_max_ = 0;    // the client's Maximum Packet Size; 0: none
  std::uint16_t receive_maximum_ = 0;     // the server's, as CONNACK said
  bool turned_away_ : 1 = false;
  bool is_bridge_ : 1 = false;      // another broker's, as CONNECT said
  bool takes_reasons_ : 1 = false;  // Reason String and user properties in any packet
  bool zero_expiry_ : 1 = false;    // CONNECT asked for no session after the connection
  bool greeted_ : 1 = false;        // CONNACK with success is written, or about to be
  bool reading_paused_ : 1 = false;
  bool pause_counted_ : 1 = false;  // what came before it is still held back
  bool read_stopped_ : 1 = false;   // the server drains
  bool write_blocked_ : 1 = false;  // waits for writability
  bool was_blocked_ : 1 = false;    // since the last report of what drained
  bool in_read_ : 1 = false;        // commands of a read are being gathered
  bool hold_rest_ : 1 = false;      // the packets behind the current one wait
  bool has_will_ : 1 = false;
  bool answered_ : 1 = false;  // while closing: no more answers will come
  bool released_ : 1 = false;
  bool expires_ : 1 = false;             // uncommon_'s expires_tick is set
  std::uint32_t messages_received_ = 0;  // PUBLISH packets since CONNECT; wraps around
};

}  // namespace millrace::server
