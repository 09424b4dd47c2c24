#include "server/mqtt/handshake.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "protocol/decode.hpp"
#include "protocol/encode.hpp"
#include "tests/server/mqtt/front_end.hpp"

namespace millrace::server {
namespace {

using protocol::Connack;
using protocol::Connect;
using protocol::ReasonCode;
using protocol::Version;
using Kind = Handshake::Step::Kind;

struct HandshakeTest : testing::Test, HandshakeUser {
  FrontEnd front;
  Handshake handshake{front.thread, *this, /*turned_away=*/false};

  void on_password_checked() override {}
  std::optional<std::string> certified_user() const override { return certified; }
  std::string client_address() const override { return "10.0.0.1"; }
  std::uint16_t listener_number() const override { return 0; }
  std::optional<std::string> certified;

  static Connect connect_packet(Version version = Version::v5) {
    Connect connect;
    connect.version = version;
    connect.client_id = "c";
    return connect;
  }
  static Handshake::Step connect(Handshake& handshake, const Connect& connect) {
    std::vector<std::uint8_t> bytes;
    protocol::encode(protocol::Packet(connect), connect.version, bytes);
    const auto frame =
        protocol::frame(bytes, protocol::packet_bytes_limit, protocol::first_packet_version);
    return handshake.connect(**frame, bytes);
  }
  Handshake::Step connect(const Connect& packet) { return connect(handshake, packet); }
  Connack connack(bool session_present = false) {
    const auto bytes = handshake.connack(session_present);
    const auto frame = protocol::frame(bytes, protocol::packet_bytes_limit, handshake.version());
    return std::get<Connack>(
        *protocol::decode(**frame, bytes, handshake.version(), protocol::Sender::server));
  }
};

TEST_F(HandshakeTest, AdmitsAClientOnTermsThatConnackTells) {
  Connect packet = connect_packet();
  packet.client_id.clear();
  packet.properties.session_expiry_interval = 0xFFFFFFFF;
  packet.properties.topic_alias_maximum = 3;
  ASSERT_EQ(connect(packet).kind, Kind::admitted);
  const Handshake::Terms& terms = handshake.terms();
  EXPECT_EQ(terms.aliases_max, 3);
  const Connack answer = connack(true);
  EXPECT_TRUE(answer.session_present);
  EXPECT_EQ(answer.properties.assigned_client_identifier, terms.request->client_id);
  EXPECT_EQ(answer.properties.session_expiry_interval, terms.request->session_expiry_s);
  EXPECT_TRUE(handshake.is_over());
}

TEST_F(HandshakeTest, TakesTheUserFromTheCertificateWhateverConnectSays) {
  Connect packet = connect_packet();
  packet.user_name = "bob";
  packet.password = "guess";
  certified = "ann";
  ASSERT_EQ(connect(packet).kind, Kind::admitted);
  EXPECT_EQ(handshake.grants()->user(), "ann");
  EXPECT_EQ(handshake.client_id(), "c");
  certified = "";
  Handshake nameless(front.thread, *this, false);
  const Handshake::Step refused = connect(nameless, packet);
  EXPECT_EQ(refused.kind, Kind::refused);
  EXPECT_EQ(refused.reason, ReasonCode::not_authorized);
  EXPECT_EQ(nameless.claimed_user(), "bob");
}

TEST_F(HandshakeTest, MarksAPresentSessionWhereTheVersionHasTheFlag) {
  for (const Version version : {Version::v3_1, Version::v3_1_1}) {
    Handshake other(front.thread, *this, false);
    ASSERT_EQ(connect(other, connect_packet(version)).kind, Kind::admitted);
    const std::uint8_t flag = version == Version::v3_1 ? 0 : 1;
    EXPECT_EQ(other.connack(true), (std::vector<std::uint8_t>{0x20, 2, flag, 0}));
  }
}

TEST_F(HandshakeTest, NamesTheSessionByTheClientIdentifierAlone) {
  ASSERT_EQ(connect(connect_packet()).kind, Kind::admitted);
  EXPECT_EQ(handshake.terms().request->client_id, "c");
  EXPECT_EQ(handshake.terms().request->rights->owner, "");
}

// The user that the certificate names, since its session is not another user's.
struct CertifiedHandshake : HandshakeTest {
  std::optional<std::string> certified_user() const override { return user; }
  static Config config_of(SessionScope scope) {
    Config config;
    config.session.scope = scope;
    return config;
  }
  std::string user = "ann";
};

TEST_F(CertifiedHandshake, OwnsTheSession) {
  ASSERT_EQ(connect(connect_packet()).kind, Kind::admitted);
  EXPECT_EQ(handshake.terms().request->rights->owner, "ann");
}

TEST_F(CertifiedHandshake, HasClientIdentifiersOfItsOwnInTheScopeOfUsers) {
  FrontEnd of_users(config_of(SessionScope::user));
  std::set<std::string> names;
  for (const std::string each : {"ann", "bob"}) {
    user = each;
    Handshake other(of_users.thread, *this, false);
    Connect packet = connect_packet();
    packet.properties.request_response_information = 1;
    ASSERT_EQ(connect(other, packet).kind, Kind::admitted);
    names.emplace(other.terms().request->client_id.view());
    const auto bytes = other.connack(false);
    const std::string text(bytes.begin(), bytes.end());
    EXPECT_NE(text.find("response/" + each + "/c"), std::string::npos);  // nobody else's
  }
  EXPECT_EQ(names.size(), 2u);
  EXPECT_FALSE(names.contains("c"));
}

// Nothing of a client whose CONNECT fails may be applied, so it fails here.
TEST_F(HandshakeTest, RefusesBeforeAnythingIsSubmittedWhatConnackWouldBeTooLargeFor) {
  Connect packet = connect_packet();
  packet.properties.maximum_packet_size = 10;
  const Handshake::Step step = connect(packet);
  EXPECT_EQ(step.kind, Kind::refused);
  EXPECT_EQ(step.reason, ReasonCode::packet_too_large);
  EXPECT_TRUE(step.has_answer);
}

TEST_F(HandshakeTest, RefusesAWillToLatestWithoutAnAnswerInMqtt3) {
  for (const Version version : {Version::v3_1_1, Version::v5}) {
    Handshake other(front.thread, *this, false);
    Connect packet = connect_packet(version);
    packet.will = protocol::Will{"$latest/a", "x", protocol::QoS::at_most_once, false, {}};
    const Handshake::Step step = connect(other, packet);
    EXPECT_EQ(step.kind, Kind::refused);
    EXPECT_EQ(step.reason, ReasonCode::topic_name_invalid);
    EXPECT_EQ(step.has_answer, version == Version::v5);
  }
}

TEST_F(HandshakeTest, KeepsTheStateTopicOfABridgeAndDropsOtherWillsBelowSys) {
  for (const char* name : {"c", "other"}) {
    Handshake other(front.thread, *this, false);
    Connect packet = connect_packet(Version::v3_1_1);
    packet.will = protocol::Will{std::string("$SYS/broker/connection/") + name + "/state",
                                 "0",
                                 protocol::QoS::at_least_once,
                                 true,
                                 {}};
    ASSERT_EQ(connect(other, packet).kind, Kind::admitted);
    const bool own = std::string_view(name) == "c";
    EXPECT_EQ(front.thread.counters().publish_denied.value(), own ? 0u : 1u);
    EXPECT_EQ(other.terms().request->will.has_value(), own);
    EXPECT_EQ(other.terms().state_topic != nullptr, own);
  }
}

// Of two users' bridges of one name neither can say what the other one's state is.
TEST_F(CertifiedHandshake, HasNoBridgesStateTopicInTheScopeOfUsers) {
  FrontEnd of_users(config_of(SessionScope::user));
  Handshake other(of_users.thread, *this, false);
  Connect packet = connect_packet(Version::v3_1_1);
  packet.bridge = true;
  packet.will =
      protocol::Will{"$SYS/broker/connection/c/state", "0", protocol::QoS::at_least_once, true, {}};
  ASSERT_EQ(connect(other, packet).kind, Kind::admitted);
  EXPECT_EQ(of_users.thread.counters().publish_denied.value(), 1u);
  EXPECT_FALSE(other.terms().request->will.has_value());
  EXPECT_EQ(other.terms().state_topic, nullptr);
}

TEST_F(HandshakeTest, TurnsAwayWhereThereIsNoRoom) {
  Handshake full(front.thread, *this, /*turned_away=*/true);
  const Handshake::Step step = connect(full, connect_packet());
  EXPECT_EQ(step.kind, Kind::refused);
  EXPECT_EQ(step.reason, ReasonCode::quota_exceeded);
  EXPECT_EQ(step.cause, CloseCause::limit);
}

TEST_F(HandshakeTest, TakesNoAuthFromAClientThatNamedNoMethod) {
  ASSERT_EQ(connect(connect_packet()).kind, Kind::admitted);
  const Handshake::Step step = handshake.authenticate({ReasonCode::re_authenticate, {}});
  EXPECT_EQ(step.kind, Kind::refused);
  EXPECT_EQ(step.reason, ReasonCode::protocol_error);
}

}  // namespace
}  // namespace millrace::server
