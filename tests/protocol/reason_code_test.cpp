#include "protocol/reason_code.hpp"

#include <gtest/gtest.h>

#include <set>

#include "protocol/packet.hpp"

namespace millrace::protocol::test {
namespace {

TEST(ReasonCodes, EachHasADistinctText) {
  std::set<std::string_view> words;
  unsigned known = 0;
  for (unsigned value = 0; value < 256; ++value) {
    const auto text = to_string(static_cast<ReasonCode>(value));
    if (text == "unknown") continue;
    ++known;
    words.insert(text);
  }
  EXPECT_EQ(known, 43u);  // the rows of table 2-6
  EXPECT_EQ(words.size(), known);
}

TEST(ReasonCodes, OnlyFrom0x80OnAreFailures) {
  EXPECT_FALSE(is_failure(ReasonCode::success));
  EXPECT_FALSE(is_failure(ReasonCode::re_authenticate));
  EXPECT_TRUE(is_failure(ReasonCode::unspecified_error));
  EXPECT_TRUE(is_failure(ReasonCode::wildcard_subscriptions_not_supported));
}

TEST(ReasonCodes, BecomeReturnCodesOf3_1_1) {
  EXPECT_EQ(connack_return_code(ReasonCode::success), 0);
  EXPECT_EQ(connack_return_code(ReasonCode::unsupported_protocol_version), 1);
  EXPECT_EQ(connack_return_code(ReasonCode::client_identifier_not_valid), 2);
  EXPECT_EQ(connack_return_code(ReasonCode::server_busy), 3);
  EXPECT_EQ(connack_return_code(ReasonCode::bad_user_name_or_password), 4);
  EXPECT_EQ(connack_return_code(ReasonCode::not_authorized), 5);
  EXPECT_EQ(connack_return_code(ReasonCode::banned), 5);
  for (unsigned value = 0x80; value < 256; ++value) {
    const unsigned code = connack_return_code(static_cast<ReasonCode>(value));
    EXPECT_GE(code, 1u);
    EXPECT_LE(code, 5u);
  }
}

TEST(ReasonCodes, AResultCarriesAValueOrThrowsItsReasonWhenAskedForOne) {
  const Result<int> good = 7;
  const Result<int> bad = ReasonCode::quota_exceeded;
  EXPECT_EQ(good.value(), 7);
  EXPECT_EQ(bad.error(), ReasonCode::quota_exceeded);
  EXPECT_THROW((void)bad.value(), std::runtime_error);
}

TEST(ReasonCodes, PacketTypesHaveTheNamesOfTheSpecification) {
  EXPECT_EQ(to_string(PacketType::connect), "CONNECT");
  EXPECT_EQ(to_string(PacketType::auth), "AUTH");
  EXPECT_EQ(to_string(static_cast<PacketType>(0)), "unknown");
}

}  // namespace
}  // namespace millrace::protocol::test
