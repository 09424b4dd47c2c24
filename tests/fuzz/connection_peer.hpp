// A client of the connection fuzzer: it sends any bytes, and judges every packet that comes back.
//
// What it knows comes from the bytes that it sent, read by the project's decoder as the server
// reads them: after bytes that are no packet it expects nothing any more but well-formed answers.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "protocol/packet.hpp"
#include "tests/fuzz/connection_world.hpp"

namespace millrace::server {

// What all peers did: nobody may receive anything else.
struct Witness {
  std::set<std::pair<std::string, std::string>> published;  // topic, payload
  std::map<std::string, std::set<std::string>> filters;  // by client identifier; without prefixes
  std::size_t nameless = 0;                              // clients without an identifier
};

class FuzzPeer {
 public:
  // `acks_may_wait`: the overflow policy withholds acknowledgements.
  FuzzPeer(World& world, Witness& witness, bool acks_may_wait)
      : witness_(witness), line_(world.open()), acks_may_wait_(acks_may_wait) {}

  Line& line() { return *line_; }
  bool closed() const { return line_->closed; }
  // Of the CONNECT that was sent; before it, 5.0.
  protocol::Version version() const { return version_.value_or(protocol::Version::v5); }
  // Packets of QoS 1 and 2 that an honest client still has to acknowledge: (answer, identifier).
  std::optional<std::pair<protocol::PacketType, std::uint16_t>> next_owed();

  void send(std::span<const std::uint8_t> bytes);
  // The next `count` packets are sent as one: the server reads them together.
  void join_next(std::size_t count);
  // Reads and judges what came.
  void check();

 private:
  void note_sent();
  void note_connect(const protocol::Connect& connect);
  void note_publish(protocol::Publish& publish);
  void note_subscribe(const protocol::Subscribe& subscribe);
  void note_sent_packet(protocol::Packet& packet);

  void judge(protocol::Packet& packet, std::size_t bytes);
  void judge_connack(const protocol::Connack& connack);
  void judge_publish(protocol::Publish& publish);
  void judge_answer(protocol::PacketType type, std::uint16_t packet_id, std::size_t codes);

  void judge_pingresp();
  void judge_end();

  Witness& witness_;
  const std::shared_ptr<Line> line_;
  const bool acks_may_wait_;

  // --- What was sent ---
  std::vector<std::uint8_t> unread_;  // of it, not yet understood
  bool is_garbage_ = false;           // from here on
  std::optional<protocol::Version> version_;
  bool has_connected_ = false;
  std::string client_id_;
  std::uint16_t receive_maximum_ = 65535;
  std::uint16_t alias_maximum_ = 0;
  std::uint32_t packet_bytes_max_ = UINT32_MAX;
  std::map<std::uint16_t, std::string> aliases_in_;
  // Answers that may come, by type and identifier.
  struct Question {
    std::size_t codes;   // that its answer has
    std::size_t number;  // in the order of sending
  };
  std::map<std::pair<protocol::PacketType, std::uint16_t>, std::vector<Question>> answers_;
  std::size_t questions_ = 0;
  std::vector<std::size_t> pings_;  // how many questions came before each
  std::vector<std::uint8_t> joined_;
  std::size_t join_ = 0;             // packets that are still to come into joined_
  bool may_have_no_answer_ = false;  // its CONNECT
  std::set<std::pair<std::string, std::string>> published_;

  // --- What came ---
  bool greeted_ = false;
  bool has_answer_ = false;  // CONNECT has, good or bad
  bool over_ = false;        // nothing may come any more
  std::map<std::uint16_t, std::string> aliases_out_;
  std::set<std::uint16_t> unacknowledged_;
  std::vector<std::pair<protocol::PacketType, std::uint16_t>> owed_;
};

}  // namespace millrace::server
