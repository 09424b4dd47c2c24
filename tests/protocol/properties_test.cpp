#include "protocol/properties.hpp"

#include <functional>
#include <map>
#include <set>

#include "bytes.hpp"

namespace millrace::protocol::test {
namespace {

using Id = PropertyId;
using enum PacketType;

constexpr PropertyScope will_scope = PropertyScope::will;
constexpr auto connect_scope = property_scope(connect);
constexpr auto connack_scope = property_scope(connack);
constexpr auto publish_scope = property_scope(publish);

// A valid value of each property, as bytes and as a member.
struct Sample {
  Id id;
  const char* text;
  std::function<void(Properties&)> set;
  std::set<PropertyScope> scopes;
};

std::set<PropertyScope> in(std::initializer_list<PacketType> types, bool will = false) {
  std::set<PropertyScope> scopes;
  for (const PacketType type : types) scopes.insert(property_scope(type));
  if (will) scopes.insert(will_scope);
  return scopes;
}

const std::vector<Sample> samples = {
    {Id::payload_format_indicator, "01 01", [](auto& p) { p.payload_format_indicator = 1; },
     in({publish}, true)},
    {Id::message_expiry_interval, "02 00000102", [](auto& p) { p.message_expiry_interval = 0x102; },
     in({publish}, true)},
    {Id::content_type, "03 \"text\"", [](auto& p) { p.content_type = "text"; },
     in({publish}, true)},
    {Id::response_topic, "08 \"r/1\"", [](auto& p) { p.response_topic = "r/1"; },
     in({publish}, true)},
    {Id::correlation_data, "09 0003 00ff80",
     [](auto& p) { p.correlation_data = std::string("\0\xFF\x80", 3); }, in({publish}, true)},
    {Id::subscription_identifier, "0b ffffff7f",
     [](auto& p) { p.subscription_identifiers = {268'435'455}; }, in({publish, subscribe})},
    {Id::session_expiry_interval, "11 ffffffff",
     [](auto& p) { p.session_expiry_interval = 0xFFFFFFFF; }, in({connect, connack, disconnect})},
    {Id::assigned_client_identifier, "12 \"id\"",
     [](auto& p) { p.assigned_client_identifier = "id"; }, in({connack})},
    {Id::server_keep_alive, "13 003c", [](auto& p) { p.server_keep_alive = 60; }, in({connack})},
    {Id::authentication_method, "15 \"SCRAM\"", [](auto& p) { p.authentication_method = "SCRAM"; },
     in({connect, connack, auth})},
    {Id::authentication_data, "15 \"m\" 16 0001 ff",
     [](auto& p) {
       p.authentication_method = "m";
       p.authentication_data = "\xFF";
     },
     in({connect, connack, auth})},
    {Id::request_problem_information, "17 00", [](auto& p) { p.request_problem_information = 0; },
     in({connect})},
    {Id::will_delay_interval, "18 00000005", [](auto& p) { p.will_delay_interval = 5; },
     in({}, true)},
    {Id::request_response_information, "19 01", [](auto& p) { p.request_response_information = 1; },
     in({connect})},
    {Id::response_information, "1a \"r/\"", [](auto& p) { p.response_information = "r/"; },
     in({connack})},
    {Id::server_reference, "1c \"other\"", [](auto& p) { p.server_reference = "other"; },
     in({connack, disconnect})},
    {Id::reason_string, "1f \"why\"", [](auto& p) { p.reason_string = "why"; },
     in({connack, puback, pubrec, pubrel, pubcomp, suback, unsuback, disconnect, auth})},
    {Id::receive_maximum, "21 0014", [](auto& p) { p.receive_maximum = 20; },
     in({connect, connack})},
    {Id::topic_alias_maximum, "22 0000", [](auto& p) { p.topic_alias_maximum = 0; },
     in({connect, connack})},
    {Id::topic_alias, "23 ffff", [](auto& p) { p.topic_alias = 0xFFFF; }, in({publish})},
    {Id::maximum_qos, "24 01", [](auto& p) { p.maximum_qos = 1; }, in({connack})},
    {Id::retain_available, "25 00", [](auto& p) { p.retain_available = 0; }, in({connack})},
    {Id::user_property, "26 \"k\" \"v\"",
     [](auto& p) {
       p.user_properties = {{"k", "v"}};
     },
     in({connect, connack, publish, puback, pubrec, pubrel, pubcomp, subscribe, suback, unsubscribe,
         unsuback, disconnect, auth},
        true)},
    {Id::maximum_packet_size, "27 00100000", [](auto& p) { p.maximum_packet_size = 1 << 20; },
     in({connect, connack})},
    {Id::wildcard_subscription_available, "28 01",
     [](auto& p) { p.wildcard_subscription_available = 1; }, in({connack})},
    {Id::subscription_identifier_available, "29 01",
     [](auto& p) { p.subscription_identifier_available = 1; }, in({connack})},
    {Id::shared_subscription_available, "2a 00",
     [](auto& p) { p.shared_subscription_available = 0; }, in({connack})},
};

std::vector<PropertyScope> all_scopes() {
  std::vector<PropertyScope> scopes;
  for (unsigned value = 0; value <= 15; ++value) {
    scopes.push_back(static_cast<PropertyScope>(value));
  }
  return scopes;
}

// A sender that may use the property in that packet.
Sender sender_for(Id id) {
  return id == Id::subscription_identifier ? Sender::server : Sender::client;
}

ReasonCode fault_of(const Bytes& list, PropertyScope scope, Sender sender = Sender::client) {
  const auto properties = decode_properties(list, scope, sender);
  const ReasonCode fault = properties.has_error() ? properties.error() : ReasonCode::success;
  // check_properties must give the same result.
  EXPECT_EQ(check_properties(list, scope, sender), fault);
  return fault;
}

ReasonCode fault_of(const char* text, PropertyScope scope, Sender sender = Sender::client) {
  return fault_of(bytes(text), scope, sender);
}

TEST(Properties, EachIsReadAndWrittenInEveryPacketThatMayHaveIt) {
  EXPECT_EQ(samples.size(), 27u);
  for (const Sample& sample : samples) {
    Properties expected;
    sample.set(expected);
    const Bytes list = bytes(sample.text);
    for (const PropertyScope scope : sample.scopes) {
      SCOPED_TRACE(sample.text);
      const auto properties = decode_properties(list, scope, sender_for(sample.id));
      ASSERT_TRUE(properties.has_value());
      EXPECT_TRUE(*properties == expected);
      EXPECT_EQ(properties_bytes(expected), list.size());
      Bytes written;
      encode_properties(expected, scope, written);
      EXPECT_EQ(written, bytes(std::string("{ ").append(sample.text).append("}")));
    }
  }
}

TEST(Properties, EachIsMalformedInEveryPacketThatMayNotHaveIt) {
  for (const Sample& sample : samples) {
    for (const PropertyScope scope : all_scopes()) {
      EXPECT_EQ(property_allowed(sample.id, scope), sample.scopes.contains(scope));
      if (sample.scopes.contains(scope)) continue;
      EXPECT_EQ(fault_of(sample.text, scope, sender_for(sample.id)), ReasonCode::malformed_packet)
          << sample.text << " in scope " << static_cast<int>(scope);
    }
  }
}

TEST(Properties, EachIsAnErrorTheSecondTimeExceptThoseThatRepeat) {
  for (const Sample& sample : samples) {
    for (const PropertyScope scope : sample.scopes) {
      const bool repeats = sample.id == Id::user_property ||
                           (sample.id == Id::subscription_identifier && scope == publish_scope);
      Bytes twice = bytes(sample.text);
      const Bytes once = twice;
      twice.insert(twice.end(), once.begin(), once.end());
      EXPECT_EQ(fault_of(twice, scope, sender_for(sample.id)),
                repeats ? ReasonCode::success : ReasonCode::protocol_error)
          << sample.text;
    }
  }
}

TEST(Properties, EachIsMalformedWhenItIsCutOff) {
  for (const Sample& sample : samples) {
    const Bytes whole = bytes(sample.text);
    const PropertyScope scope = *sample.scopes.begin();
    for (std::size_t count = 1; count < whole.size(); ++count) {
      const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(count));
      if (sample.id == Id::authentication_data && count == 4)
        continue;  // the method alone is valid
      EXPECT_EQ(fault_of(cut, scope, sender_for(sample.id)), ReasonCode::malformed_packet)
          << sample.text << " cut to " << count;
    }
  }
}

TEST(Properties, UnknownIdentifiersAreMalformed) {
  std::set<unsigned> known;
  for (const Sample& sample : samples) known.insert(static_cast<unsigned>(sample.id));
  for (unsigned id = 0; id < 128; ++id) {
    if (known.contains(id)) continue;
    const Bytes list = {static_cast<std::uint8_t>(id), 0, 0, 0, 0};
    for (const PropertyScope scope : all_scopes()) {
      EXPECT_EQ(fault_of(list, scope), ReasonCode::malformed_packet) << id;
      EXPECT_FALSE(property_allowed(static_cast<Id>(id), scope));
    }
  }
  EXPECT_EQ(fault_of("ac02 00", connect_scope), ReasonCode::malformed_packet);
  EXPECT_EQ(fault_of("a600 0000 0000", connect_scope), ReasonCode::malformed_packet);
  EXPECT_EQ(fault_of("ffffffff7f", connect_scope), ReasonCode::malformed_packet);
}

TEST(Properties, ForbiddenValuesAreErrors) {
  constexpr auto protocol = ReasonCode::protocol_error;
  EXPECT_EQ(fault_of("21 0000", connect_scope), protocol);      // Receive Maximum
  EXPECT_EQ(fault_of("27 00000000", connect_scope), protocol);  // Maximum Packet Size
  EXPECT_EQ(fault_of("0b 00", property_scope(subscribe)), protocol);
  EXPECT_EQ(fault_of("23 0000", publish_scope), ReasonCode::topic_alias_invalid);
  for (const char* id : {"01", "24", "25", "28", "29", "2a"}) {
    const auto scope = id == std::string("01") ? publish_scope : connack_scope;
    EXPECT_EQ(fault_of(bytes(std::string(id) + "01"), scope, Sender::server), ReasonCode::success);
    EXPECT_EQ(fault_of(bytes(std::string(id) + "02"), scope, Sender::server), protocol) << id;
    EXPECT_EQ(fault_of(bytes(std::string(id) + "ff"), scope, Sender::server), protocol) << id;
  }
  for (const char* id : {"17", "19"}) {
    EXPECT_EQ(fault_of(bytes(std::string(id) + "02"), connect_scope), protocol) << id;
  }
  EXPECT_EQ(fault_of("01 02", will_scope), protocol);
}

TEST(Properties, AResponseTopicIsATopicName) {
  for (const PropertyScope scope : {publish_scope, will_scope}) {
    EXPECT_EQ(fault_of("08 \"a/#\"", scope), ReasonCode::topic_name_invalid);  // [MQTT-3.3.2-14]
    EXPECT_EQ(fault_of("08 \"+\"", scope), ReasonCode::topic_name_invalid);
    EXPECT_EQ(fault_of("08 0000", scope), ReasonCode::topic_name_invalid);
  }
}

TEST(Properties, TextIsUtf8AndBinaryDataIsNot) {
  EXPECT_EQ(fault_of("03 0001 ff", publish_scope), ReasonCode::malformed_packet);
  EXPECT_EQ(fault_of("03 0001 00", publish_scope), ReasonCode::malformed_packet);
  EXPECT_EQ(fault_of("26 0001 ff \"v\"", publish_scope), ReasonCode::malformed_packet);
  EXPECT_EQ(fault_of("26 \"k\" 0003 eda080", publish_scope), ReasonCode::malformed_packet);
  EXPECT_EQ(fault_of("09 0001 ff", publish_scope), ReasonCode::success);
  EXPECT_EQ(fault_of("03 0000", publish_scope), ReasonCode::success);
}

TEST(Properties, AuthenticationDataNeedsAMethod) {
  EXPECT_EQ(fault_of("16 0001 ff", connect_scope), ReasonCode::protocol_error);
  EXPECT_EQ(fault_of("16 0001 ff 15 \"m\"", connect_scope), ReasonCode::success);
}

TEST(Properties, SomeDependOnTheSender) {
  // [MQTT-3.3.4-6]
  EXPECT_EQ(fault_of("0b 01", publish_scope, Sender::client), ReasonCode::protocol_error);
  EXPECT_EQ(fault_of("0b 01 0b 02", publish_scope, Sender::server), ReasonCode::success);
  EXPECT_EQ(fault_of("0b 01", property_scope(subscribe), Sender::client), ReasonCode::success);
  // [MQTT-3.14.2-2]
  const auto scope = property_scope(disconnect);
  EXPECT_EQ(fault_of("11 00000000", scope, Sender::server), ReasonCode::protocol_error);
  EXPECT_EQ(fault_of("11 00000000", scope, Sender::client), ReasonCode::success);
}

TEST(Properties, UserPropertiesKeepTheirOrderAndTheirRepetitions) {
  const Bytes list = bytes(R"(26 "b" "1" 03 "t" 26 "a" "2" 26 "b" "1" 26 "" "")");
  const auto properties = decode_properties(list, publish_scope, Sender::client).value();
  const std::vector<UserProperty> expected = {{"b", "1"}, {"a", "2"}, {"b", "1"}, {"", ""}};
  EXPECT_EQ(properties.user_properties, expected);
  EXPECT_EQ(properties.content_type, "t");
}

TEST(Properties, AllOfAConnackAreEncodedAndDecoded) {
  Properties all;
  for (const Sample& sample : samples) {
    if (sample.scopes.contains(connack_scope)) sample.set(all);
  }
  Bytes written;
  encode_properties(all, connack_scope, written);
  const std::size_t length_bytes = properties_bytes(all) < 128 ? 1 : 2;
  const auto list = std::span(written).subspan(length_bytes);
  EXPECT_EQ(list.size(), properties_bytes(all));
  EXPECT_TRUE(decode_properties(list, connack_scope, Sender::server).value() == all);
}

TEST(PropertiesDeathTest, WritingOneIntoAPacketThatMayNotHaveItAborts) {
  Properties properties;
  properties.topic_alias = 1;
  Bytes out;
  EXPECT_DEATH(encode_properties(properties, connect_scope, out), "broken invariant");
}

}  // namespace
}  // namespace millrace::protocol::test
