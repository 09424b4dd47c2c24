// The last packet of a connection, within what the client takes.
#include "server/mqtt/farewell.hpp"

#include <gtest/gtest.h>

#include <string>

namespace millrace::server {
namespace {

using protocol::ReasonCode;
using protocol::Version;

std::string text_of(const Farewell& farewell) {
  const auto bytes = encode_disconnect(farewell);
  return {bytes.begin(), bytes.end()};
}

TEST(Farewell, GivesTheReasonInWordsWhereThereIsRoom) {
  const std::string words = "the token has expired";
  Farewell farewell{Version::v5, ReasonCode::not_authorized, 0, "", words};
  EXPECT_EQ(text_of(farewell), std::string("\xE0\x1A\x87\x18\x1F\x00\x15", 7) + words);
  farewell.packet_bytes_max = 27;  // one less than that packet
  EXPECT_EQ(text_of(farewell), "\xE0\x01\x87");
  farewell.packet_bytes_max = 1000;
  EXPECT_TRUE(text_of(farewell).ends_with(words));
  farewell.version = Version::v3_1_1;
  EXPECT_EQ(text_of(farewell), "");
}

TEST(Farewell, WithoutWordsIsItsCode) {
  EXPECT_EQ(text_of({Version::v5, ReasonCode::not_authorized, 0, "", ""}), "\xE0\x01\x87");
}

}  // namespace
}  // namespace millrace::server
