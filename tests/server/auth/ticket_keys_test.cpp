// How long a session ticket can be used.
#include "server/auth/ticket_keys.hpp"

#include <gtest/gtest.h>

namespace millrace::server {
namespace {

using std::chrono::minutes;

const TicketKeys::Clock::time_point start{std::chrono::hours(1000)};

TEST(TicketKeys, OpenWhatTheySealedInTheSameHour) {
  TicketKeys keys(start);
  const TicketKey sealed = keys.sealing(start + minutes(1));
  const auto found = keys.opening(sealed.name.data(), start + minutes(59));
  ASSERT_TRUE(found.has_value());
  EXPECT_TRUE(found->is_current);
  EXPECT_EQ(found->key.cipher, sealed.cipher);
  EXPECT_EQ(found->key.mac, sealed.mac);
}

TEST(TicketKeys, OpenWhatWasSealedInTheHourBeforeAndAskForANewTicket) {
  TicketKeys keys(start);
  const TicketKey sealed = keys.sealing(start + minutes(59));
  const auto found = keys.opening(sealed.name.data(), start + minutes(61));
  ASSERT_TRUE(found.has_value());
  EXPECT_FALSE(found->is_current);
  EXPECT_EQ(found->key.cipher, sealed.cipher);
  EXPECT_NE(keys.sealing(start + minutes(61)).name, sealed.name);
}

TEST(TicketKeys, AreGoneAfterTwoHours) {
  TicketKeys keys(start);
  const TicketKey sealed = keys.sealing(start + minutes(1));
  keys.sealing(start + minutes(61));
  EXPECT_FALSE(keys.opening(sealed.name.data(), start + minutes(122)));
}

TEST(TicketKeys, AreGoneAfterTwoHoursInWhichNobodyCame) {
  TicketKeys keys(start);
  const TicketKey sealed = keys.sealing(start + minutes(59));
  EXPECT_FALSE(keys.opening(sealed.name.data(), start + minutes(121)));
}

TEST(TicketKeys, OfOneListenerOpenNothingOfAnother) {
  TicketKeys keys(start), others(start);
  EXPECT_FALSE(others.opening(keys.sealing(start).name.data(), start));
}

}  // namespace
}  // namespace millrace::server
