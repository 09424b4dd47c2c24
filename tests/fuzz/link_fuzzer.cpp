// The fuzz target of links to other brokers: an upstream that may say anything, at any time, in pieces
// of any size, with real links, the real inbox and processor (connection_world.hpp).
//
// The first byte of an input says which MQTT is spoken. Then steps follow, each a byte that says what
// happens and one or more that say how: bytes of a stranger, or a packet that makes sense; a publish of
// a client here; time; room in the "kernel". What must hold, beside the absence of crashes:
//   - what the link sends is framed and well formed, CONNECT first and once;
//   - nothing goes to the upstream but what a client here has published: never what came from there;
//   - the server comes to rest, and nothing of the link stays behind.
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "protocol/decode.hpp"
#include "protocol/encode.hpp"
#include "tests/fuzz/connection_world.hpp"

using namespace millrace;
using namespace millrace::server;

namespace {

using Bytes = std::vector<std::uint8_t>;

class Owner final : public LinkOwner {
 public:
  void on_link_up(const LinkTerms&) override {}
  void on_link_subscribed() override {}
  void on_link_closed(LinkEnd end) override {
    expect(!closed, "a link ends once");
    expect(!end.text.empty(), "a link ends for a reason");
    closed = true;
  }
  void on_rule_refused(std::string_view, std::string_view) override {}

  bool closed = false;
};

UpstreamPlanRef make_plan() {
  UpstreamConfig config;
  config.name = "north";
  config.client_id = "edge-of-north";
  config.addresses = {"mqtt://127.0.0.1"};
  config.hops_max = 2;
  UpstreamRule both;
  both.direction = Direction::both;
  both.filter = "a/#";
  UpstreamRule renamed;
  renamed.direction = Direction::both;
  renamed.filter = "#";
  renamed.local_prefix = "here/";
  renamed.remote_prefix = "there/";
  renamed.mode = DeliveryMode::latest;
  config.rules = {both, renamed};
  return make_upstream_plan(config, {}, 1);
}

class Fuzz {
 public:
  explicit Fuzz(std::span<const std::uint8_t> input) : input_(input) {}

  void run() {
    dialect_ = static_cast<Dialect>(next() % 3);
    version_ = version_of(dialect_);
    open_link();
    begin_client();
    while (!input_.empty()) {
      step();
      world_.run();
      read_link();
    }
    world_.finish();
    read_link();
    expect(owner_->closed, "its owner hears of the end");
  }

 private:
  std::uint8_t next() {
    if (input_.empty()) return 0;
    const std::uint8_t byte = input_.front();
    input_ = input_.subspan(1);
    return byte;
  }

  void open_link() {
    owner_ = std::make_shared<Owner>();
    sent_.clear();
    connects_ = 0;
    link_ = world_.open_link(
        owner_, {plan_, std::make_shared<UpstreamStats>(), dialect_, {}, false, false, {}});
  }

  void begin_client() {
    client_ = world_.open();
    protocol::Connect connect;
    connect.client_id = "client";
    put(*client_, protocol::Packet(connect), protocol::Version::v5);
    protocol::Subscribe subscribe;
    subscribe.packet_id = 1;
    subscribe.subscriptions.push_back({"#", protocol::QoS::at_most_once, false, false, {}});
    put(*client_, protocol::Packet(subscribe), protocol::Version::v5);
    world_.run();
  }

  void put(Line& line, const protocol::Packet& packet, protocol::Version version) {
    Bytes bytes;
    protocol::encode(packet, version, bytes);
    line.to_server.insert(line.to_server.end(), bytes.begin(), bytes.end());
  }

  void step() {
    const std::uint8_t what = next();
    const std::uint8_t how = next();
    switch (what % 8) {
      case 0:
      case 1: {
        const auto count = std::min<std::size_t>(how, input_.size());
        link_->to_server.insert(link_->to_server.end(), input_.begin(),
                                input_.begin() + static_cast<std::ptrdiff_t>(count));
        input_ = input_.subspan(count);
        return;
      }
      case 2:
        return say(how);
      case 3:
        return publish_here(how);
      case 4:
        return world_.advance_ms(how * 250u);
      case 5:
        link_->write_room = how == 255 ? SIZE_MAX : how * 8u;
        return;
      case 6:
        link_->read_max = how + 1u;
        return;
      case 7:
        link_->ended = true;
        world_.run();
        if (owner_->closed) open_link();
        return;
    }
  }

  // A packet of an upstream that knows the protocol.
  void say(std::uint8_t how) {
    const auto id = static_cast<std::uint16_t>(how / 16 % 4 + 1);
    switch (how % 16) {
      case 0: {
        protocol::Connack connack;
        connack.session_present = id % 2 == 0;
        if (version_ == protocol::Version::v5 && id > 2) connack.properties.receive_maximum = 2;
        if (version_ == protocol::Version::v5 && id > 3)
          connack.properties.maximum_packet_size = 200;
        return put(*link_, protocol::Packet(connack), version_);
      }
      case 1:
      case 2:
      case 3:
        return publish_there(how, how % 16 - 1, id, "a/b");
      case 4:
      case 5:
        return publish_there(how, how % 2, id, "there/c");
      case 6: {
        protocol::Pubrel pubrel;
        pubrel.packet_id = id;
        return put(*link_, protocol::Packet(pubrel), version_);
      }
      case 7: {
        protocol::Puback puback;
        puback.packet_id = id;
        return put(*link_, protocol::Packet(puback), version_);
      }
      case 8: {
        protocol::Pubrec pubrec;
        pubrec.packet_id = id;
        return put(*link_, protocol::Packet(pubrec), version_);
      }
      case 9: {
        protocol::Pubcomp pubcomp;
        pubcomp.packet_id = id;
        return put(*link_, protocol::Packet(pubcomp), version_);
      }
      case 10: {
        protocol::Suback suback;
        suback.packet_id = 65535;
        suback.reasons = {protocol::ReasonCode::granted_qos2, protocol::ReasonCode::granted_qos1};
        return put(*link_, protocol::Packet(suback), version_);
      }
      case 11:
        return put(*link_, protocol::Packet(protocol::Pingresp{}), version_);
      case 12:
        if (version_ != protocol::Version::v5) return;
        return put(*link_, protocol::Packet(protocol::Disconnect{}), version_);
      default:
        return publish_there(how, 1, id, "elsewhere");
    }
  }

  void publish_there(std::uint8_t how, int qos, std::uint16_t id, const char* topic) {
    protocol::Publish publish;
    publish.topic = topic;
    publish.payload = "theirs";
    publish.qos = static_cast<protocol::QoS>(qos);
    publish.packet_id = qos > 0 ? id : 0;
    publish.retain = how % 2 == 0;
    if (version_ == protocol::Version::v5 && how > 128) {
      publish.properties.user_properties = {{"millrace-hops", how > 192 ? "07" : "01"}};
    }
    put(*link_, protocol::Packet(publish), version_);
  }

  void publish_here(std::uint8_t how) {
    protocol::Publish publish;
    publish.topic = how % 2 == 0 ? "a/b" : "here/c";
    publish.payload = "ours" + std::to_string(ours_.size());
    ours_.insert(publish.payload);
    publish.qos = static_cast<protocol::QoS>(how / 2 % 3);
    publish.packet_id = how / 2 % 3 > 0 ? 1 : 0;
    publish.retain = how > 128;
    put(*client_, protocol::Packet(publish), protocol::Version::v5);
    if (publish.qos == protocol::QoS::exactly_once) {
      protocol::Pubrel pubrel;
      pubrel.packet_id = 1;
      put(*client_, protocol::Packet(pubrel), protocol::Version::v5);
    }
  }

  void read_link() {
    sent_.insert(sent_.end(), link_->from_server.begin(), link_->from_server.end());
    link_->from_server.clear();
    for (;;) {
      const auto version = connects_ == 0 ? protocol::first_packet_version : version_;
      const auto frame = protocol::frame(sent_, protocol::packet_bytes_limit, version);
      expect(frame.has_value(), "what the link sends is framed");
      if (!*frame) return;
      const auto packet = protocol::decode(**frame, sent_, version_);
      expect(packet.has_value(), "what the link sends is well formed");
      check(*packet);
      sent_.erase(sent_.begin(), sent_.begin() + (*frame)->packet_bytes);
    }
  }

  void check(const protocol::Packet& packet) {
    const bool is_connect = std::holds_alternative<protocol::Connect>(packet);
    expect(is_connect == (connects_ == 0), "CONNECT comes first, and once");
    if (is_connect) ++connects_;
    const auto* publish = std::get_if<protocol::Publish>(&packet);
    if (publish == nullptr) return;
    expect(ours_.contains(publish->payload), "nothing goes out but what was published here");
    expect(publish->topic == "a/b" || publish->topic == "there/c", "by its name there");
  }

  std::span<const std::uint8_t> input_;
  World world_{OverflowPolicy::drop_oldest};
  const UpstreamPlanRef plan_ = make_plan();
  Dialect dialect_ = Dialect::v5;
  protocol::Version version_ = protocol::Version::v5;
  std::shared_ptr<Owner> owner_;
  std::shared_ptr<Line> link_;
  std::shared_ptr<Line> client_;
  Bytes sent_;
  int connects_ = 0;
  std::set<std::string> ours_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 0) Fuzz({data, size}).run();
  return 0;
}
