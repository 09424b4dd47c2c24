// One MQTT connection of the generator: connects, does the handshakes, publishes from a
// PublishRing, passes received messages to a Receiver, and acknowledges them.
//
// One thread, that of its EventLoop. Invariants: control packets are written before publishes, but
// never inside a partly written packet; at most `unacked_max` publishes are unacknowledged (fewer
// if CONNACK says so); while more than kControlBytesMax of answers wait to be written, nothing is
// read.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "loadtest/event_loop.hpp"
#include "loadtest/packets.hpp"
#include "loadtest/publish_ring.hpp"
#include "loadtest/receiver.hpp"
#include "loadtest/transport.hpp"

namespace millrace::loadtest {

// The settings that all clients of a run share. Constant after set-up.
struct Endpoint {
  sockaddr_storage address{};
  socklen_t address_bytes = 0;
  bool tls = false;
  bool websocket = false;
  TlsContext tls_context;
  TlsSettings tls_settings;
  WebSocketSettings websocket_settings;
  ConnectFields connect;         // without the client identifier
  int receive_buffer_bytes = 0;  // 0: the system's choice
  int send_buffer_bytes = 0;
};

class Client;

class ClientEvents {
 public:
  virtual ~ClientEvents() = default;
  virtual void on_ready(Client& client) = 0;       // CONNACK arrived and accepted
  virtual void on_subscribed(Client& client) = 0;  // every filter granted
  // The connection is over and its socket closed; may be called from within on_events() and
  // flush().
  virtual void on_closed(Client& client, const std::string& why) = 0;
};

class Client {
 public:
  static constexpr std::size_t kControlBytesMax = 1024 * 1024;

  Client(EventLoop& loop, const Endpoint& endpoint, ClientEvents& events, std::string id);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // To be called before dial(); both are optional.
  void publish_from(std::unique_ptr<PublishRing> ring, std::uint8_t qos, std::uint32_t unacked_max);
  void receive_into(Receiver* receiver) { receiver_ = receiver; }
  // Sets the source address (network order; 0: the system's choice): one address has only some
  // 28,000 ports.
  void bind_source(std::uint32_t ipv4) { source_ipv4_ = ipv4; }
  void use_receive_buffer(int bytes) { receive_buffer_bytes_ = bytes; }

  void dial();
  void subscribe(const std::vector<std::string>& filters, std::uint8_t qos,
                 const std::vector<std::pair<std::string, std::string>>& user_properties);
  void ping();
  void send_control(std::string_view packet);
  void on_events(std::uint32_t events);

  // A client that does not read automatically reads only in read_some().
  void set_auto_read(bool automatic);
  void read_some(std::size_t bytes_max);

  // How many more publishes may be stamped now.
  std::size_t publish_room() const;
  // Stamps `count` publishes, at most publish_room().
  void stamp(std::size_t count, Nanos intended_ns, Nanos sent_ns);
  void flush();

  void disconnect();  // DISCONNECT, then closes
  void abort();       // closes without DISCONNECT

  bool is_open() const { return fd_ >= 0; }
  bool is_ready() const { return state_ == State::ready; }
  const std::string& id() const { return id_; }
  void rename(std::string id) { id_ = std::move(id); }  // for the next dial()
  PublishRing* ring() { return ring_.get(); }
  const PublishRing* ring() const { return ring_.get(); }
  Receiver* receiver() { return receiver_; }
  std::uint32_t unacked() const { return unacked_; }
  std::uint64_t refused() const { return refused_; }
  std::uint64_t protocol_errors() const { return protocol_errors_; }
  std::uint64_t received_bytes() const { return received_bytes_; }
  Nanos dialled_ns() const { return dialled_ns_; }
  void* tag = nullptr;  // for the owner's use

 private:
  enum class State { closed, dialling, handshaking, awaiting_connack, ready };
  enum class Slot : std::uint8_t { free, awaiting_ack, awaiting_pubcomp };

  void continue_handshake();
  void readable();
  bool read_once(std::size_t bytes_max);
  std::size_t consume(const char* bytes, std::size_t n, Nanos now);
  bool on_publish(std::uint8_t first_byte, const char* body, std::size_t n, Nanos now);
  bool on_packet(std::uint8_t first_byte, std::string_view body);
  bool on_connack(std::string_view body);
  bool on_suback(std::string_view body);
  bool on_ack(PacketType type, std::string_view body);
  void release(std::uint16_t packet_id);
  std::uint16_t take_packet_id();
  bool write_control();
  bool write_ring();
  void update_interest();
  void close_socket();
  void fail(const std::string& why);

  EventLoop& loop_;
  const Endpoint& endpoint_;
  ClientEvents& events_;
  std::string id_;
  int fd_ = -1;
  State state_ = State::closed;
  std::unique_ptr<Transport> transport_;
  std::uint32_t interest_ = 0;
  bool auto_read_ = true;
  bool blocked_ = false;       // the socket is not writable
  bool ring_blocked_ = false;  // and the unwritten bytes are the ring's

  std::string partial_;  // the beginning of a packet that is not complete yet
  std::vector<char> control_;
  std::size_t control_at_ = 0;
  std::size_t filters_wanted_ = 0;

  std::unique_ptr<PublishRing> ring_;
  std::uint8_t publish_qos_ = 0;
  std::uint32_t unacked_max_ = 0;
  std::uint32_t unacked_ = 0;
  std::uint16_t last_packet_id_ = 0;
  std::vector<Slot> slots_;  // by packet identifier; QoS > 0 only

  Receiver* receiver_ = nullptr;
  std::uint32_t source_ipv4_ = 0;
  int receive_buffer_bytes_ = 0;
  Nanos dialled_ns_ = 0;
  std::uint64_t received_bytes_ = 0;
  std::uint64_t refused_ = 0;
  std::uint64_t protocol_errors_ = 0;
};

}  // namespace millrace::loadtest
