// SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ and PINGRESP.
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

Subscription subscription(std::string filter, QoS qos) {
  Subscription wanted;
  wanted.filter = std::move(filter);
  wanted.qos = qos;
  return wanted;
}

TEST(Subscribe, IsReadAndWritten) {
  Subscribe plain;
  plain.packet_id = 10;
  plain.subscriptions = {subscription("a/b", QoS::at_least_once),
                         subscription("c/#", QoS::exactly_once)};
  Subscribe rich;
  rich.packet_id = 0xFFFF;
  rich.properties.subscription_identifiers = {300};
  rich.properties.user_properties = {{"delivery", "latest"}};
  rich.subscriptions = {Subscription{.filter = "+",
                                     .qos = QoS::exactly_once,
                                     .no_local = true,
                                     .retain_as_published = true,
                                     .retain_handling = RetainHandling::do_not_send}};
  Subscribe prefixed;
  prefixed.packet_id = 1;
  prefixed.subscriptions = {subscription("$share/g/a", QoS::at_most_once),
                            subscription("$latest/a/#", QoS::at_most_once)};
  expect_good({
      {"3.1.1", R"(82 { 000a "a/b" 01 "c/#" 02 })", plain, v3_1_1},
      {"3.1", R"(82 { 000a "a/b" 01 "c/#" 02 })", plain, v3_1},
      {"5", R"(82 { 000a {} "a/b" 01 "c/#" 02 })", plain},
      {"every option", R"(82 { ffff { 0b ac02 26 "delivery" "latest" } "+" 2e })", rich},
      {"prefixes", R"(82 { 0001 {} "$share/g/a" 00 "$latest/a/#" 00 })", prefixed},
  });
}

TEST(Subscribe, RejectsWhatIsMalformed) {
  expect_faults({
      {"empty", "82 00", malformed},
      {"identifier 0", R"(82 { 0000 {} "a" 00 })", protocol},
      {"identifier 0, 3.1.1", R"(82 { 0000 "a" 00 })", protocol, v3_1_1},
      {"no properties", "82 { 0001 }", malformed},
      {"no filter", "82 { 0001 {} }", protocol},
      {"no filter, 3.1.1", "82 { 0001 }", protocol, v3_1_1},
      {"no options", R"(82 { 0001 {} "a" })", malformed},
      {"second without options", R"(82 { 0001 {} "a" 00 "b" })", malformed},
      {"filter cut off", "82 { 0001 {} 0005 'a' }", malformed},
      {"filter not UTF-8", "82 { 0001 {} 0001 ff 00 }", malformed},
      {"filter empty", R"(82 { 0001 {} "" 00 })", ReasonCode::topic_filter_invalid},
      {"wildcard out of place", R"(82 { 0001 {} "a#" 00 })", ReasonCode::topic_filter_invalid},
      {"wildcard out of place, 3.1.1", R"(82 { 0001 "a/#/b" 00 })",
       ReasonCode::topic_filter_invalid, v3_1_1},
      {"QoS 3", R"(82 { 0001 {} "a" 03 })", protocol},
      {"QoS 3, 3.1.1", R"(82 { 0001 "a" 03 })", malformed, v3_1_1},
      {"reserved bit 6", R"(82 { 0001 {} "a" 40 })", malformed},
      {"reserved bit 7", R"(82 { 0001 {} "a" 80 })", malformed},
      {"No Local in 3.1.1", R"(82 { 0001 "a" 04 })", malformed, v3_1_1},
      {"Retain Handling in 3.1.1", R"(82 { 0001 "a" 10 })", malformed, v3_1_1},
      {"Retain Handling 3", R"(82 { 0001 {} "a" 30 })", protocol},
      {"No Local on a shared one", R"(82 { 0001 {} "$share/g/a" 04 })", protocol},  // 3.8.3-4
      {"subscription identifier 0", R"(82 { 0001 { 0b 00 } "a" 00 })", protocol},
      {"two subscription identifiers", R"(82 { 0001 { 0b 01 0b 02 } "a" 00 })", protocol},
      {"property of others", R"(82 { 0001 { 1f "r" } "a" 00 })", malformed},
      {"wrong flags", R"(80 { 0001 {} "a" 00 })", malformed},  // 3.8.1-1
      {"from a server", R"(82 { 0001 {} "a" 00 })", protocol, v5, server},
  });
}

TEST(Subscribe, DoesNotRejectThePacketForAMalformedFilterAfterLatest) {
  const auto packet = decode_text(R"(82 { 0001 {} "$latest/a#" 00 "b" 00 })", v5).value();
  EXPECT_EQ(std::get<Subscribe>(packet).subscriptions[0].filter, "$latest/a#");
}

TEST(Subscribe, MayBeRepeatedIn3_1) {
  EXPECT_TRUE(decode_text(R"(8a { 0001 "a" 01 })", v3_1).has_value());
  EXPECT_TRUE(decode_text(R"(8a { 0001 "a" 01 })", v3_1_1).has_error());
}

TEST(Suback, IsReadAndWritten) {
  Suback suback;
  suback.packet_id = 10;
  suback.reasons = {ReasonCode::granted_qos0, ReasonCode::granted_qos1, ReasonCode::granted_qos2,
                    ReasonCode::unspecified_error};
  Suback rich = suback;
  rich.reasons.push_back(ReasonCode::topic_filter_invalid);
  rich.properties.reason_string = "r";
  expect_good({
      {"3.1.1", "90 { 000a 00 01 02 80 }", suback, v3_1_1, server},
      {"5", "90 { 000a {} 00 01 02 80 }", suback, v5, server},
      {"properties", R"(90 { 000a { 1f "r" } 00 01 02 80 8f })", rich, v5, server},
  });
  // 3.1.1 has one code for all failures.
  rich.reasons = {ReasonCode::not_authorized, ReasonCode::granted_qos1};
  EXPECT_EQ(encoded(rich, v3_1_1), bytes("90 { 000a 80 01 }"));
  // 3.1 has no code for failures: the answer is a granted QoS.
  EXPECT_EQ(encoded(rich, v3_1), bytes("90 { 000a 00 01 }"));
}

TEST(Suback, RejectsWhatIsMalformed) {
  expect_faults({
      {"identifier 0", "90 { 0000 {} 00 }", protocol, v5, server},
      {"no reason", "90 { 0001 {} }", protocol, v5, server},
      {"no reason, 3.1.1", "90 { 0001 }", protocol, v3_1_1, server},
      {"unknown reason", "90 { 0001 {} 03 }", protocol, v5, server},
      {"a reason of others", "90 { 0001 {} 00 8e }", protocol, v5, server},
      {"a reason of 5 in 3.1.1", "90 { 0001 87 }", protocol, v3_1_1, server},
      {"from a client", "90 { 0001 {} 00 }", protocol, v5, client},
  });
}

TEST(Unsubscribe, IsReadAndWritten) {
  Unsubscribe packet;
  packet.packet_id = 7;
  packet.filters = {"a/+", "$share/g/b"};
  Unsubscribe rich = packet;
  rich.properties.user_properties = {{"k", "v"}};
  expect_good({
      {"3.1.1", R"(a2 { 0007 "a/+" "$share/g/b" })", packet, v3_1_1},
      {"5", R"(a2 { 0007 {} "a/+" "$share/g/b" })", packet},
      {"properties", R"(a2 { 0007 { 26 "k" "v" } "a/+" "$share/g/b" })", rich},
  });
}

TEST(Unsubscribe, RejectsWhatIsMalformed) {
  expect_faults({
      {"empty", "a2 00", malformed},
      {"identifier 0", R"(a2 { 0000 {} "a" })", protocol},
      {"no filter", "a2 { 0001 {} }", protocol},  // 3.10.3-2
      {"no filter, 3.1.1", "a2 { 0001 }", protocol, v3_1_1},
      {"filter cut off", "a2 { 0001 {} 0002 'a' }", malformed},
      {"filter not UTF-8", "a2 { 0001 {} 0001 80 }", malformed},
      {"filter malformed", R"(a2 { 0001 {} "a/#/" })", ReasonCode::topic_filter_invalid},
      {"property of others", R"(a2 { 0001 { 0b 01 } "a" })", malformed},
      {"wrong flags", R"(a0 { 0001 {} "a" })", malformed},  // 3.10.1-1
      {"from a server", R"(a2 { 0001 {} "a" })", protocol, v5, server},
  });
}

TEST(Unsuback, IsReadAndWritten) {
  Unsuback packet;
  packet.packet_id = 7;
  const Unsuback bare = packet;
  packet.reasons = {ReasonCode::success, ReasonCode::no_subscription_existed};
  expect_good({
      {"3.1.1", "b0 { 0007 }", bare, v3_1_1, server},
      {"5", "b0 { 0007 {} 00 11 }", packet, v5, server},
  });
  EXPECT_EQ(encoded(packet, v3_1_1), bytes("b0 { 0007 }"));
}

TEST(Unsuback, RejectsWhatIsMalformed) {
  expect_faults({
      {"identifier 0", "b0 { 0000 }", protocol, v3_1_1, server},
      {"no reason", "b0 { 0001 {} }", protocol, v5, server},
      {"a reason of SUBACK", "b0 { 0001 {} 01 }", protocol, v5, server},
      {"trailing byte, 3.1.1", "b0 { 0001 00 }", malformed, v3_1_1, server},
      {"from a client", "b0 { 0001 {} 00 }", protocol, v5, client},
  });
}

TEST(Ping, IsReadAndWrittenAndEmpty) {
  for (const Version version : {v3_1, v3_1_1, v5}) {
    expect_good({
        {"request", "c0 00", Pingreq{}, version, client},
        {"response", "d0 00", Pingresp{}, version, server},
    });
    expect_faults({
        {"request with a byte", "c0 { 00 }", malformed, version},
        {"response with a byte", "d0 { 00 }", malformed, version, server},
        {"request of a server", "c0 00", protocol, version, server},
        {"response of a client", "d0 00", protocol, version, client},
    });
  }
  Bytes out = {0xAA};
  encode_pingresp(out);
  EXPECT_EQ(out, bytes("aa d0 00"));
}

TEST(SubscribeDeathTest, WritingAnInvalidPacketAborts) {
  Bytes out;
  Subscribe subscribe;
  subscribe.packet_id = 1;
  EXPECT_DEATH(encode(subscribe, v5, out), "broken invariant");
  Unsubscribe unsubscribe;
  unsubscribe.packet_id = 1;
  EXPECT_DEATH(encode(unsubscribe, v5, out), "broken invariant");
  subscribe.packet_id = 0;
  subscribe.subscriptions = {subscription("a", QoS::at_most_once)};
  EXPECT_DEATH(encode(subscribe, v5, out), "never 0");
  subscribe.packet_id = 1;
  subscribe.subscriptions[0].filter.assign(65'536, 'a');
  EXPECT_DEATH(encode(subscribe, v5, out), "65,535");
}

}  // namespace
}  // namespace millrace::protocol::test
