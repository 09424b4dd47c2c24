// Handshake: who a client is and on which terms it comes in. It takes CONNECT, has the password
// checked or exchanges AUTH packets, and makes the CONNACK. Source: MQTT 5.0 and 3.1.1, sections 3.1
// and 3.2; MQTT 5.0 sections 3.15 and 4.12; RFC 5802.
//
//     connect() --+-- checking ------ password_checked() --+-- admitted: terms(), connack()
//                 +-- exchanging ---- authenticate()...  --+-- refused
//
// Always: what can refuse a CONNECT is looked at before `admitted`, the size of CONNACK included:
// once the processor has the Connect, only the processor refuses. A client that named an
// authentication method may exchange AUTH packets again later; it stays the same user.
//
// Threads: the connection's I/O thread. The worker computes a password's check on a state of its own
// that outlives the handshake.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/broker/command.hpp"
#include "protocol/frame.hpp"
#include "protocol/packet.hpp"
#include "server/auth/access.hpp"
#include "server/mqtt/delivery_options.hpp"
#include "server/net/io_thread.hpp"
#include "server/observe/counters.hpp"

namespace millrace::server {

class HandshakeUser {
 public:
  // Now password_checked() has a result.
  virtual void on_password_checked() = 0;
  // The user that the client's TLS certificate names; nothing: it has none, or names are not taken
  // from certificates.
  virtual std::optional<std::string> certified_user() const = 0;
  // The client's address, without the port.
  virtual std::string client_address() const = 0;
  // The number of its listener (broker::Arrival).
  virtual std::uint16_t listener_number() const = 0;

 protected:
  ~HandshakeUser() = default;
};

class Handshake {
 public:
  // What follows from a packet, or from a check that ended.
  struct Step {
    enum class Kind : std::uint8_t {
      refused,     // the connection ends: reason, cause, has_answer
      checking,    // wait for on_password_checked(); nothing is handled before it
      exchanging,  // send `auth`; the client's AUTH follows
      admitted,    // terms() and connack()
      confirmed,   // send `auth`: the client, admitted long ago, has authenticated again
    };
    Kind kind = Kind::refused;
    protocol::ReasonCode reason{};
    CloseCause cause = CloseCause::refused;
    bool has_answer = true;  // of this version, to that
    std::vector<std::uint8_t> auth;
  };

  // What was agreed with an admitted client.
  struct Terms {
    std::unique_ptr<broker::ConnectRequest> request;
    std::unique_ptr<std::string> state_topic;  // of another broker's bridge; null: it is none
    std::unique_ptr<DeliveryWish> wish;  // for what it will subscribe to; null: CONNECT has none
    std::uint32_t keep_alive_seconds = 0;
    std::uint16_t aliases_max = 0;  // towards the client
    bool is_bridge = false;         // No Local and Retain As Published for all it subscribes to
    bool takes_reasons = true;      // Reason String and user properties in any packet
    bool zero_expiry = false;       // no session after the connection was asked for
  };

  // `turned_away`: there is no room, and CONNECT is answered so.
  Handshake(IoThread& thread, HandshakeUser& user, bool turned_away);
  ~Handshake();

  Step connect(const protocol::Frame& frame, std::span<const std::uint8_t> packet);
  Step password_checked();
  Step authenticate(const protocol::Auth& packet);

  // Of CONNECT, as far as it could be read.
  protocol::Version version() const { return version_; }
  std::uint32_t packet_bytes_max() const { return packet_bytes_max_; }  // 0: none
  const broker::ClientId& client_id() const { return client_id_; }  // or the one that was assigned
  // Of a client whose name was not verified: what it said.
  const std::string& claimed_user() const { return claimed_user_; }
  const std::shared_ptr<const Grants>& grants() const { return grants_; }
  Terms& terms() { return terms_; }
  // Once; encoded.
  std::vector<std::uint8_t> connack(bool session_present);
  // After CONNACK there is nothing left to do.
  bool is_over() const { return greeted_ && !authentication_; }

  // Before connect(): what a client is told that is turned away.
  void turn_away_with(protocol::ReasonCode reason) { turned_away_with_ = reason; }

 private:
  struct PasswordCheck;
  struct Authentication;

  void count_failure();
  Step refuse(protocol::ReasonCode reason);
  Step fault(protocol::ReasonCode reason);
  Step refuse_undecoded(protocol::ReasonCode reason, const protocol::Frame& frame,
                        std::span<const std::uint8_t> packet);
  Step check_password(protocol::Connect& connect);
  Step ask_hook(protocol::Connect& connect);
  Step conclude_hook(PasswordCheck& check);
  Step wait_in_line(std::shared_ptr<PasswordCheck> check, Login login,
                    bool (*is_right)(PasswordCheck&));
  Step begin_authentication(protocol::Connect& connect);
  Step check_token(std::string token);
  Step conclude_token(protocol::Result<std::shared_ptr<const Grants>> grants);
  Step challenge(const std::string& data);
  Step conclude(const std::string& data);
  Step conclude_with(protocol::Result<std::string> last_data);
  Step fail_authentication();
  Step auth_step(Step::Kind kind, protocol::ReasonCode reason, std::string data);

  // The client is known, or not.
  Step admit(protocol::Connect& connect, protocol::Result<std::shared_ptr<const Grants>> grants);
  broker::Arrival arrival() const { return {client_id_, address_, user_.listener_number()}; }
  std::optional<protocol::ReasonCode> check_will(const protocol::Will& will) const;
  void note_bridge(protocol::Connect& connect);
  void note_wish(const protocol::Properties& properties, protocol::Properties& answer);
  bool fits_connack() const {
    return packet_bytes_max_ == 0 || connack_.size() <= packet_bytes_max_;
  }
  Step agree(protocol::Connect& connect);
  void agree_keep_alive(std::uint16_t seconds, protocol::Properties& answer);
  std::uint32_t agree_session_expiry(const protocol::Connect& connect,
                                     protocol::Properties& answer) const;
  std::string response_information() const;
  void encode_connack(protocol::Properties answer);

  IoThread& thread_;
  HandshakeUser& user_;
  std::shared_ptr<const Grants> grants_;
  std::shared_ptr<PasswordCheck> check_;  // with the worker (handshake_parts.hpp); null: none
  std::unique_ptr<Authentication> authentication_;  // null: CONNECT named no method
  Terms terms_;
  std::vector<std::uint8_t> connack_;
  broker::ClientId client_id_;
  std::string claimed_user_;
  std::string address_;
  std::uint32_t packet_bytes_max_ = 0;
  protocol::Version version_ = protocol::Version::v5;
  bool turned_away_;
  protocol::ReasonCode turned_away_with_ = protocol::ReasonCode::quota_exceeded;
  bool id_assigned_ = false;  // CONNECT brought none
  bool greeted_ = false;      // connack() was taken
};

}  // namespace millrace::server
