// CONNECT, CONNACK, AUTH and DISCONNECT.
#include "bytes.hpp"

namespace millrace::protocol::test {
namespace {

constexpr auto malformed = ReasonCode::malformed_packet;
constexpr auto protocol = ReasonCode::protocol_error;
constexpr auto v3_1 = Version::v3_1;
constexpr auto v3_1_1 = Version::v3_1_1;
constexpr auto v5 = Version::v5;
constexpr auto client = Sender::client;
constexpr auto server = Sender::server;

Connect full_connect(Version version) {
  Connect connect;
  connect.version = version;
  connect.clean_start = false;
  connect.keep_alive_seconds = 60;
  connect.client_id = "id";
  connect.will = Will{.topic = "w/t",
                      .payload = "gone",
                      .qos = QoS::exactly_once,
                      .retain = true,
                      .properties = {}};
  connect.user_name = "user";
  connect.password = "\x01\xFF";
  return connect;
}

TEST(Connect, IsReadAndWritten) {
  Connect minimal;
  minimal.client_id = "id";
  Connect old = minimal;
  old.version = v3_1_1;
  Connect older = minimal;
  older.version = v3_1;

  Connect full5 = full_connect(v5);
  full5.properties.session_expiry_interval = 10;
  full5.properties.receive_maximum = 20;
  full5.properties.user_properties = {{"a", "b"}};
  full5.will->properties.will_delay_interval = 3;
  full5.will->properties.content_type = "t";

  Connect token = minimal;  // a password without a user name is for MQTT 5
  token.password = "secret";

  Connect anonymous;
  Connect anonymous_old;
  anonymous_old.version = v3_1_1;

  expect_good({
      {"least of 5", R"(10 { "MQTT" 05 02 0000 {} "id" })", minimal},
      {"least of 3.1.1", R"(10 { "MQTT" 04 02 0000 "id" })", old, v3_1_1},
      {"least of 3.1", R"(10 { "MQIsdp" 03 02 0000 "id" })", older, v3_1},
      {"all of 3.1.1", R"(10 { "MQTT" 04 f4 003c "id" "w/t" "gone" "user" 000201ff })",
       full_connect(v3_1_1), v3_1_1},
      {"all of 3.1", R"(10 { "MQIsdp" 03 f4 003c "id" "w/t" "gone" "user" 000201ff })",
       full_connect(v3_1), v3_1},
      {"all of 5",
       R"(10 { "MQTT" 05 f4 003c { 11 0000000a 21 0014 26 "a" "b" } "id"
               { 03 "t" 18 00000003 } "w/t" "gone" "user" 000201ff })",
       full5},
      {"password alone in 5", R"(10 { "MQTT" 05 42 0000 {} "id" "secret" })", token},
      {"no identifier in 5", R"(10 { "MQTT" 05 02 0000 {} "" })", anonymous},
      {"no identifier in 3.1.1", R"(10 { "MQTT" 04 02 0000 "" })", anonymous_old, v3_1_1},
  });
}

TEST(Connect, TakesTheVersionFromThePacket) {
  const auto packet = decode_text(R"(10 { "MQTT" 04 02 0000 "id" })", v5).value();
  EXPECT_EQ(std::get<Connect>(packet).version, v3_1_1);
  Connect connect;
  connect.version = v3_1_1;
  connect.client_id = "id";
  EXPECT_EQ(encoded(connect, v5), bytes(R"(10 { "MQTT" 04 02 0000 "id" })"));
}

TEST(Connect, RejectsWhatIsMalformed) {
  expect_faults({
      {"nothing in it", "10 00", malformed},
      {"name cut off", "10 { 0004 'MQT' }", malformed},
      {"no level", R"(10 { "MQTT" })", malformed},
      {"no flags", R"(10 { "MQTT" 05 })", malformed},
      {"no keep alive", R"(10 { "MQTT" 05 02 00 })", malformed},
      {"no properties", R"(10 { "MQTT" 05 02 0000 })", malformed},
      {"properties beyond the end", R"(10 { "MQTT" 05 02 0000 05 "id" })", malformed},
      {"no identifier", R"(10 { "MQTT" 05 02 0000 {} })", malformed},
      {"identifier not UTF-8", "10 { \"MQTT\" 05 02 0000 {} 0001 ff }", malformed},
      {"identifier with NUL", R"(10 { "MQTT" 05 02 0000 {} 0001 00 })", malformed},
      {"reserved flag", R"(10 { "MQTT" 05 03 0000 {} "id" })", malformed},  // 3.1.2-3
      {"reserved flag, 3.1.1", R"(10 { "MQTT" 04 03 0000 "id" })", malformed},
      {"will QoS, no will", R"(10 { "MQTT" 05 0a 0000 {} "id" })", malformed},     // 3.1.2-11
      {"will retain, no will", R"(10 { "MQTT" 05 22 0000 {} "id" })", malformed},  // 3.1.2-13
      {"will QoS, no will, 3.1.1", R"(10 { "MQTT" 04 12 0000 "id" })", malformed},
      {"will QoS 3", R"(10 { "MQTT" 05 1e 0000 {} "id" {} "w" "" })", malformed},    // 3.1.2-12
      {"password alone, 3.1.1", R"(10 { "MQTT" 04 42 0000 "id" "p" })", malformed},  // 3.1.2-22
      {"password alone, 3.1", R"(10 { "MQIsdp" 03 42 0000 "id" "p" })", malformed},
      {"no will topic", R"(10 { "MQTT" 05 06 0000 {} "id" {} })", malformed},
      {"no will payload", R"(10 { "MQTT" 05 06 0000 {} "id" {} "w" })", malformed},
      {"no will properties", R"(10 { "MQTT" 05 06 0000 {} "id" })", malformed},
      {"will topic not UTF-8", R"(10 { "MQTT" 05 06 0000 {} "id" {} 0001 ff "" })", malformed},
      {"will topic empty", R"(10 { "MQTT" 05 06 0000 {} "id" {} "" "" })",
       ReasonCode::topic_name_invalid},
      {"will topic with wildcard", R"(10 { "MQTT" 05 06 0000 {} "id" {} "a/#" "" })",
       ReasonCode::topic_name_invalid},
      {"no user name", R"(10 { "MQTT" 05 82 0000 {} "id" })", malformed},
      {"no user name, 3.1.1", R"(10 { "MQTT" 04 82 0000 "id" })", malformed},
      {"user name not UTF-8", R"(10 { "MQTT" 05 82 0000 {} "id" 0001 ff })", malformed},
      {"no password", R"(10 { "MQTT" 05 c2 0000 {} "id" "u" })", malformed},
      {"password cut off", R"(10 { "MQTT" 05 c2 0000 {} "id" "u" 0005 'p' })", malformed},
      {"trailing byte", R"(10 { "MQTT" 05 02 0000 {} "id" 00 })", malformed},
      {"user name without its flag", R"(10 { "MQTT" 04 02 0000 "id" "u" })", malformed},
      {"property of the will", R"(10 { "MQTT" 05 02 0000 { 18 00000001 } "id" })", malformed},
      {"property of CONNECT in the will", R"(10 { "MQTT" 05 06 0000 {} "id" { 21 0001 } "w" "" })",
       malformed},
      {"same property twice", R"(10 { "MQTT" 05 02 0000 { 21 0001 21 0001 } "id" })", protocol},
      {"receive maximum 0", R"(10 { "MQTT" 05 02 0000 { 21 0000 } "id" })", protocol},
      {"authentication data alone", R"(10 { "MQTT" 05 02 0000 { 16 "x" } "id" })", protocol},
      {"from a server", R"(10 { "MQTT" 05 02 0000 {} "id" })", protocol, v5, server},
  });
}

TEST(Connect, RejectsUnknownProtocols) {
  constexpr auto unsupported = ReasonCode::unsupported_protocol_version;
  expect_faults({
      {"unknown name", R"(10 { "HTTP" 05 02 0000 {} "id" })", unsupported},
      {"case matters", R"(10 { "mqtt" 05 02 0000 {} "id" })", unsupported},
      {"empty name", R"(10 { "" 05 02 0000 {} "id" })", unsupported},
      {"level 6", R"(10 { "MQTT" 06 02 0000 {} "id" })", unsupported},
      {"level 3 of MQTT", R"(10 { "MQTT" 03 02 0000 "id" })", unsupported},
      {"level 4 of MQIsdp", R"(10 { "MQIsdp" 04 02 0000 "id" })", unsupported},
      {"the bridge bit with 5", R"(10 { "MQTT" 85 02 0000 {} "id" })", unsupported},
      {"the bridge bit with the other name", R"(10 { "MQIsdp" 84 02 0000 "id" })", unsupported},
      {"unknown level, and nothing after it", R"(10 { "MQTT" 09 })", unsupported},
  });
}

TEST(Connect, RejectsEmptyIdentifiersWhereTheVersionDoes) {
  constexpr auto not_valid = ReasonCode::client_identifier_not_valid;
  expect_faults({
      {"3.1.1 without a clean session", R"(10 { "MQTT" 04 00 0000 "" })", not_valid, v3_1_1},
      {"3.1", R"(10 { "MQIsdp" 03 02 0000 "" })", not_valid, v3_1},
  });
}

TEST(Connect, AcceptsWhatOnly3_1Allows) {
  // Flags without their fields, set bits that are unused in 3.1, a long identifier.
  for (const char* text :
       {R"(10 { "MQIsdp" 03 c2 0000 "id" })", R"(10 { "MQIsdp" 03 82 0000 "id" })",
        R"(10 { "MQIsdp" 03 2b 0000 "id" })",
        R"(10 { "MQIsdp" 03 02 0000 "an-identifier-of-33-characters-xx" })"}) {
    const auto packet = decode_text(text, v3_1);
    ASSERT_TRUE(packet.has_value()) << text;
    EXPECT_FALSE(std::get<Connect>(*packet).user_name);
    EXPECT_FALSE(std::get<Connect>(*packet).will);
  }
  const auto packet = decode_text(R"(10 { "MQIsdp" 03 c2 0000 "id" "u" })", v3_1).value();
  EXPECT_EQ(std::get<Connect>(packet).user_name, "u");
  EXPECT_FALSE(std::get<Connect>(packet).password);
}

TEST(Connect, KnowsBridgesByTheHighestBitOfTheLevel) {
  Connect bridge;
  bridge.version = v3_1_1;
  bridge.bridge = true;
  bridge.client_id = "id";
  Connect old = bridge;
  old.version = v3_1;
  expect_good({
      {"3.1.1", R"(10 { "MQTT" 84 02 0000 "id" })", bridge, v3_1_1},
      {"3.1", R"(10 { "MQIsdp" 83 02 0000 "id" })", old, v3_1},
  });
}

TEST(Connect, IsFramedBeforeItsVersionIsKnownAndThenCheckedByIt) {
  const auto fault = [](const char* text) {
    const auto packet = decode_text(text, first_packet_version);
    return packet.has_error() ? packet.error() : ReasonCode::success;
  };
  // The low header bits are unused in 3.1.
  EXPECT_EQ(fault(R"(1f { "MQIsdp" 03 02 0000 "id" })"), ReasonCode::success);
  EXPECT_EQ(fault(R"(12 { "MQTT" 04 02 0000 "id" })"), malformed);
  EXPECT_EQ(fault(R"(12 { "MQTT" 05 02 0000 {} "id" })"), malformed);
  // A length that is not the shortest form: only MQTT 5 forbids it.
  EXPECT_EQ(fault(R"(10 9000 "MQIsdp" 03 02 0000 "id")"), ReasonCode::success);
  EXPECT_EQ(fault(R"(10 8e808000 "MQTT" 04 02 0000 "id")"), ReasonCode::success);
  EXPECT_EQ(fault(R"(10 8f00 "MQTT" 05 02 0000 {} "id")"), malformed);
}

TEST(Connect, TellsItsVersionEvenWhenTheRestIsBroken) {
  const auto version = [](const char* text) {
    const Bytes packet = bytes(text);
    return connect_version(frame(packet, packet_bytes_limit).value().value(), packet);
  };
  EXPECT_EQ(version(R"(10 { "MQTT" 05 })"), v5);
  EXPECT_EQ(version(R"(10 { "MQTT" 04 ff })"), v3_1_1);
  EXPECT_EQ(version(R"(10 { "MQIsdp" 03 })"), v3_1);
  EXPECT_EQ(version(R"(10 { "MQTT" 84 })"), v3_1_1);
  EXPECT_EQ(version(R"(10 { "MQTT" 06 02 })"), v5);
  EXPECT_EQ(version(R"(10 { "MQTT" 03 02 })"), std::nullopt);
  EXPECT_EQ(version(R"(10 { "MQTT" })"), std::nullopt);
  EXPECT_EQ(version("10 00"), std::nullopt);
  EXPECT_EQ(version("c0 00"), std::nullopt);
}

TEST(ConnectDeathTest, WritingAPasswordAloneIn3_1_1Aborts) {
  Connect connect;
  connect.version = v3_1_1;
  connect.password = "p";
  Bytes out;
  EXPECT_DEATH(encode(connect, v3_1_1, out), "broken invariant");
}

TEST(Connack, IsReadAndWritten) {
  Connack resumed{.session_present = true, .reason = ReasonCode::success, .properties = {}};
  Connack refused{.session_present = false, .reason = ReasonCode::not_authorized, .properties = {}};
  Connack full = resumed;
  full.properties.assigned_client_identifier = "auto-1";
  full.properties.server_keep_alive = 60;
  full.properties.topic_alias_maximum = 256;
  expect_good({
      {"accepted, 5", "20 { 00 00 {} }", Connack{}, v5, server},
      {"resumed, 5", "20 { 01 00 {} }", resumed, v5, server},
      {"refused, 5", "20 { 00 87 {} }", refused, v5, server},
      {"properties", R"(20 { 01 00 { 12 "auto-1" 13 003c 22 0100 } })", full, v5, server},
      {"accepted, 3.1.1", "20 { 00 00 }", Connack{}, v3_1_1, server},
      {"resumed, 3.1.1", "20 { 01 00 }", resumed, v3_1_1, server},
      {"refused, 3.1.1", "20 { 00 05 }", refused, v3_1_1, server},
      {"accepted, 3.1", "20 { 00 00 }", Connack{}, v3_1, server},
  });
}

TEST(Connack, HasNoSessionPresentInARefusalOrIn3_1) {
  const Connack refused{
      .session_present = true, .reason = ReasonCode::server_busy, .properties = {}};
  EXPECT_EQ(encoded(refused, v5), bytes("20 { 00 89 {} }"));
  EXPECT_EQ(encoded(refused, v3_1_1), bytes("20 { 00 03 }"));
  const Connack resumed{.session_present = true, .reason = ReasonCode::success, .properties = {}};
  EXPECT_EQ(encoded(resumed, v3_1), bytes("20 { 00 00 }"));
  const auto packet = decode_text("20 { 55 00 }", v3_1, server).value();
  EXPECT_FALSE(std::get<Connack>(packet).session_present);
}

TEST(Connack, RejectsWhatIsMalformed) {
  expect_faults({
      {"empty", "20 00", malformed, v5, server},
      {"no reason", "20 { 00 }", malformed, v5, server},
      {"no properties", "20 { 00 00 }", malformed, v5, server},
      {"reserved flags", "20 { 02 00 {} }", malformed, v5, server},
      {"reserved flags, 3.1.1", "20 { 80 00 }", malformed, v3_1_1, server},
      {"session and failure", "20 { 01 87 {} }", protocol, v5, server},
      {"session and failure, 3.1.1", "20 { 01 05 }", protocol, v3_1_1, server},
      {"unknown reason", "20 { 00 7f {} }", protocol, v5, server},
      {"a reason of DISCONNECT", "20 { 00 8e {} }", protocol, v5, server},
      {"return code 6", "20 { 00 06 }", protocol, v3_1_1, server},
      {"trailing byte", "20 { 00 00 {} 00 }", malformed, v5, server},
      {"trailing byte, 3.1.1", "20 { 00 00 00 }", malformed, v3_1_1, server},
      {"a property of CONNECT", "20 { 00 00 { 17 01 } }", malformed, v5, server},
      {"from a client", "20 { 00 00 {} }", protocol, v5, client},
  });
}

TEST(Disconnect, IsReadAndWritten) {
  const Disconnect with_will{.reason = ReasonCode::disconnect_with_will_message, .properties = {}};
  const Disconnect taken{.reason = ReasonCode::session_taken_over, .properties = {}};
  Disconnect expiry;
  expiry.properties.session_expiry_interval = 7;
  Disconnect moved{.reason = ReasonCode::use_another_server, .properties = {}};
  moved.properties.server_reference = "b";
  moved.properties.reason_string = "r";
  expect_good({
      {"normal, 5", "e0 00", Disconnect{}},
      {"normal, 3.1.1", "e0 00", Disconnect{}, v3_1_1},
      {"normal, 3.1", "e0 00", Disconnect{}, v3_1},
      {"reason alone", "e0 { 04 }", with_will},
      {"reason of a server", "e0 { 8e }", taken, v5, server},
      {"properties", "e0 { 00 { 11 00000007 } }", expiry},
      {"all", R"(e0 { 9c { 1c "b" 1f "r" } })", moved, v5, server},
  });
  // Longer encodings of the same packet.
  EXPECT_TRUE(decode_text("e0 { 00 }", v5).value() == Packet{Disconnect{}});
  EXPECT_TRUE(decode_text("e0 { 00 {} }", v5).value() == Packet{Disconnect{}});
  // 3.1.1 has no reasons.
  EXPECT_EQ(encoded(taken, v3_1_1), bytes("e0 00"));
}

TEST(Disconnect, RejectsWhatIsMalformed) {
  expect_faults({
      {"unknown reason", "e0 { 01 }", protocol},
      {"a client speaks as a server", "e0 { 8b }", protocol},
      {"a server speaks as a client", "e0 { 04 }", protocol, v5, server},
      {"session expiry of a server", "e0 { 00 { 11 00000001 } }", protocol, v5, server},
      {"property of others", "e0 { 00 { 21 0001 } }", malformed},
      {"properties cut off", "e0 { 00 05 11 }", malformed},
      {"trailing byte", "e0 { 00 {} 00 }", malformed},
      {"something in it, 3.1.1", "e0 { 00 }", malformed, v3_1_1},
      {"from a server, 3.1.1", "e0 00", protocol, v3_1_1, server},
  });
}

TEST(Auth, IsReadAndWritten) {
  Auth more{.reason = ReasonCode::continue_authentication, .properties = {}};
  more.properties.authentication_method = "SCRAM-SHA-256";
  more.properties.authentication_data = "n,,n=u";
  Auth again = more;
  again.reason = ReasonCode::re_authenticate;
  Auth done = more;
  done.reason = ReasonCode::success;
  expect_good({
      {"continue", R"(f0 { 18 { 15 "SCRAM-SHA-256" 16 "n,,n=u" } })", more},
      {"continue, server", R"(f0 { 18 { 15 "SCRAM-SHA-256" 16 "n,,n=u" } })", more, v5, server},
      {"again", R"(f0 { 19 { 15 "SCRAM-SHA-256" 16 "n,,n=u" } })", again},
      {"done", R"(f0 { 00 { 15 "SCRAM-SHA-256" 16 "n,,n=u" } })", done, v5, server},
      {"done, the short way", "f0 00", Auth{}, v5, server},
  });
}

TEST(Auth, RejectsWhatIsMalformed) {
  expect_faults({
      {"success from a client", "f0 00", protocol},
      {"success from a client, with a method", R"(f0 { 00 { 15 "m" } })", protocol},
      {"re-authentication by a server", R"(f0 { 19 { 15 "m" } })", protocol, v5, server},
      {"unknown reason", R"(f0 { 80 { 15 "m" } })", protocol},
      {"no properties", "f0 { 18 }", malformed},
      {"no method", "f0 { 18 {} }", protocol},
      {"data without method", R"(f0 { 18 { 16 "d" } })", protocol},
      {"trailing byte", R"(f0 { 18 { 15 "m" } 00 })", malformed},
      {"in 3.1.1", R"(f0 { 18 { 15 "m" } })", protocol, v3_1_1},
      {"in 3.1", R"(f0 { 18 { 15 "m" } })", malformed, v3_1},
  });
}

TEST(AuthDeathTest, WritingItIn3_1_1Aborts) {
  Bytes out;
  EXPECT_DEATH(encode(Auth{}, v3_1_1, out), "broken invariant");
}

}  // namespace
}  // namespace millrace::protocol::test
