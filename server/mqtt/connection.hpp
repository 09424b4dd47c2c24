// Connection: one MQTT client, from accept to close, over whatever transport carries it.
//
// It turns bytes into commands ([1] framing, [2] decode, [3] message, [4] submit) and hand-overs
// into bytes ([9]), and answers by itself only what needs no session: CONNECT that is refused,
// PINGREQ, PUBLISH that may not be. Per read it makes one submission, per hand-over as few writes
// as the socket takes.
//
// Its life: opening, awaiting_connect, connecting, connected, closing, lingering, closed.
//     connecting: CONNECT was submitted, CONNACK waits for the processor. Before it perhaps
//                 checking: the worker looks at the password of a CONNECT, or
//                 authenticating: AUTH packets go to and fro
//     closing:    nothing is read any more; what must still be said is being written
//     lingering:  said; waits for the peer to close, lest its unread bytes erase our words
//
// Always: `connect` is submitted at most once, and if it was, `close` is submitted exactly once,
// last, however the connection ends; a command that the queue did not take is kept until it does.
//
// Threads: its I/O thread alone. It holds itself from start() until it has left.
//
// The definitions stand by subject: connection.cpp (life and time), connection_read.cpp (receiving,
// framing, submitting, back-pressure), connection_packets.cpp (what each packet means),
// connection_connect.cpp, connection_authenticate.cpp, connection_publish.cpp,
// connection_subscribe.cpp, connection_write.cpp.
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
#include "protocol/frame.hpp"
#include "protocol/packet.hpp"
#include "protocol/publish.hpp"
#include "server/auth/access.hpp"
#include "server/config/config.hpp"
#include "server/mqtt/writer.hpp"
#include "server/net/io_thread.hpp"
#include "server/net/stream.hpp"

namespace millrace::server {

struct DeliveryWish;

class Connection final : public StreamUser, public Resident, private broker::OutboxOwner {
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
    bool tell_peer = false;  // DISCONNECT, or a refusing CONNACK, where the version has one
  };

  // The packets of one read, while they are handled.
  struct Incoming {
    std::span<std::uint8_t> bytes;
    broker::Buffer* holder = nullptr;  // what messages are slices of
    bool exact = false;                // bytes are copied into a holder of their own size first
    std::uint32_t references = 0;      // of the holder, owed to the messages made so far
    std::size_t publish_bytes = 0;     // of those that are such slices
    std::size_t last_publish = 0;      // the command of the last of them
    std::array<std::uint32_t, qos_count> messages{};
    std::array<std::uint64_t, qos_count> payload_bytes{};
    broker::BufferRef own;  // the exact holder
  };

  // The head of a packet whose end has not come.
  struct Partial {
    broker::BufferRef buffer;
    std::uint32_t bytes = 0;
    // Of a packet that is read straight into `buffer`; 0: `bytes` is all there is, and goes in
    // front of the next read.
    std::uint32_t packet_bytes = 0;
  };

  // Kept from CONNECT until CONNACK.
  struct Greeting {
    std::string assigned_client_id;  // empty: the client had one
    std::optional<std::uint16_t> server_keep_alive_seconds;
    std::optional<std::uint32_t> session_expiry_seconds;
    std::string response_information;  // empty: none
  };

  struct PasswordCheck;
  struct EnhancedAuthentication;

  // --- connection.cpp ---
  void schedule_check();
  void close(Ending ending);  // starts to end; commands of the current read come first
  void finish_closing();
  void say_farewell();
  void lost();   // the transport failed
  void leave();  // closes the transport
  void release_if_done();
  void log_ending(const Ending& ending) const;
  bool past_connect() const { return outbox_ != nullptr; }
  bool ended() const { return state_ >= State::closing; }

  // --- connection_read.cpp ---
  bool read_once();
  void read_on();  // asks for the next read, unless a limit says to pause
  IoResult receive(Incoming& incoming);
  IoResult receive_into_partial(Incoming& incoming);
  IoResult receive_into_shared(Incoming& incoming);
  void on_received(Incoming& incoming);
  std::size_t handle_packets(Incoming& incoming);
  void settle_references(Incoming& incoming);
  void keep_partial(Bytes rest);
  void discard_input();
  void append_close(ReasonCode reason);
  void submit_commands();
  void submit_kept();
  bool must_pause() const;
  bool may_resume() const;
  void resume_reading();
  std::uint32_t unapplied_commands() const {
    return submitted_commands_ - outbox_->applied_commands();
  }
  std::uint32_t unapplied_bytes() const { return submitted_bytes_ - outbox_->applied_bytes(); }

  // --- connection_packets.cpp ---
  // Each says whether to go on with the next packet.
  bool handle_packet(const protocol::Frame& frame, Bytes packet, Incoming& incoming);
  bool handle_ack(const protocol::Frame& frame, Bytes packet);
  bool handle_other(const protocol::Frame& frame, Bytes packet);
  bool handle(protocol::Subscribe& packet);
  bool handle(protocol::Unsubscribe& packet);
  bool handle(protocol::Disconnect& packet);
  bool handle(protocol::Auth& packet);
  void resolve(const protocol::Subscription& wanted, const DeliveryWish& wish, bool has_identifier,
               broker::SubscriptionRequest& resolved);
  bool fault(ReasonCode reason);
  template <class What>
  void add_command(What&& what) {
    thread_.commands().push_back({outbox_.get(), std::forward<What>(what)});
  }

  // --- connection_connect.cpp ---
  bool handle_connect(const protocol::Frame& frame, Bytes packet);
  bool refuse_undecoded(ReasonCode reason, const protocol::Frame& frame, Bytes packet);
  bool refuse(ReasonCode reason);
  std::optional<ReasonCode> check_connect(const protocol::Connect& connect) const;
  // The client is known now, or refused.
  bool admit(protocol::Connect& connect, protocol::Result<std::shared_ptr<const Grants>> grants);
  std::optional<ReasonCode> check_will(const protocol::Will& will) const;
  void accept(protocol::Connect& connect);
  void set_keep_alive(std::uint16_t seconds, Greeting& greeting);
  std::uint32_t agree_session_expiry(const protocol::Connect& connect, Greeting& greeting) const;
  // Empty: it gets none.
  std::string response_information(const std::string& client_id) const;
  void send_connack(bool session_present);
  void send_refusal(ReasonCode reason);

  // --- connection_authenticate.cpp ---
  bool check_password(protocol::Connect& connect);
  void on_password_checked(PasswordCheck& check);
  void forget_password_check();
  bool begin_authentication(protocol::Connect& connect);
  bool challenge(const std::string& data);
  bool conclude(const std::string& data);
  bool fail_authentication();
  bool send_auth(ReasonCode reason, std::string data);

  // --- connection_publish.cpp ---
  bool handle_publish(const protocol::Frame& frame, Bytes packet, Incoming& incoming);
  std::optional<ReasonCode> resolve_alias(protocol::PublishView& view);
  std::optional<ReasonCode> refusal_of(const protocol::PublishView& view);
  void refuse_publish(const protocol::PublishView& view, ReasonCode reason);
  bool count_unacknowledged();
  broker::Message take_message(const protocol::PublishView& view, Bytes packet, Incoming& incoming);
  void prepare_holder(Incoming& incoming);

  // --- connection_write.cpp ---
  void on_outbox_ready() override;
  void take_handover();
  void account_control(Bytes control);
  void write();
  void redirect(ReasonCode& reason, protocol::Properties& properties) const;
  void report_drained();
  void apply_binding();

  IoThread& thread_;
  const ListenerConfig& listener_;
  std::unique_ptr<Stream> stream_;
  broker::OutboxRef outbox_;  // from the accepted CONNECT on
  std::shared_ptr<const Grants> grants_;
  Writer writer_;
  Partial partial_;
  std::unique_ptr<std::vector<broker::Command>> kept_commands_;  // the queue did not take them
  std::unique_ptr<std::vector<std::string>> aliases_in_;
  std::unique_ptr<Greeting> greeting_;
  std::optional<std::uint32_t> new_expiry_s_;               // that the client's DISCONNECT asks for
  std::shared_ptr<PasswordCheck> password_check_;           // of the state `checking`
  std::unique_ptr<EnhancedAuthentication> authentication_;  // null: CONNECT named no method
  std::optional<Ending> ending_;

  std::uint32_t submitted_commands_ = 0;
  std::uint32_t submitted_bytes_ = 0;
  std::uint32_t last_received_tick_ = 0;
  std::uint32_t patience_ticks_ = 0;    // silence, or time in this state, that is allowed; 0: any
  std::uint32_t unacknowledged_ = 0;    // QoS 1 and 2 received and not answered
  std::uint32_t packet_bytes_max_ = 0;  // the client's Maximum Packet Size; 0: none
  std::uint16_t receive_maximum_ = 0;
  State state_ = State::opening;
  protocol::Version version_ = protocol::Version::v5;
  bool turned_away_ : 1 = false;
  bool zero_expiry_ : 1 = false;  // CONNECT asked for no session after the connection
  bool greeted_ : 1 = false;      // CONNACK with success is written, or about to be
  bool reading_paused_ : 1 = false;
  bool read_stopped_ : 1 = false;   // the server drains
  bool write_blocked_ : 1 = false;  // waits for writability
  bool was_blocked_ : 1 = false;    // since the last report of what drained
  bool in_read_ : 1 = false;        // commands of a read are being gathered
  bool has_will_ : 1 = false;
  bool close_appended_ : 1 = false;
  bool close_submitted_ : 1 = false;
  bool released_ : 1 = false;
  broker::Outbox::Binding binding_ = broker::Outbox::Binding::early;
};

}  // namespace millrace::server
