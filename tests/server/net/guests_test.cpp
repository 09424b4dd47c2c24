// How many may come from where, how fast, and who is kept out for a while.
#include "server/net/guests.hpp"

#include <gtest/gtest.h>

namespace millrace::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Verdict = Guests::Verdict;

const Guests::Clock::time_point start = Guests::Clock::now() + std::chrono::hours(1);

Config with_addresses(std::uint32_t max) {
  Config config;
  config.connection.per_address_max = max;
  return config;
}

TEST(Guests, LimitNothingUnlessAsked) {
  Guests guests{Config()};
  EXPECT_FALSE(guests.limit_addresses());
  EXPECT_FALSE(guests.limit_users());
  EXPECT_EQ(guests.rate_of(0), nullptr);
}

TEST(Guests, OfOneAddressAreSoManyAtOnce) {
  Guests guests(with_addresses(2));
  EXPECT_EQ(guests.enter("10.0.0.1", 0, start), Verdict::welcome);
  EXPECT_EQ(guests.enter("10.0.0.1", 0, start), Verdict::welcome);
  EXPECT_EQ(guests.enter("10.0.0.1", 0, start), Verdict::too_many);
  EXPECT_EQ(guests.enter("10.0.0.2", 0, start), Verdict::welcome);
  guests.leave("10.0.0.1", 0);
  EXPECT_EQ(guests.enter("10.0.0.1", 0, start), Verdict::welcome);
}

TEST(Guests, OfOneListenerAreSoManyAtOnce) {
  Config config;
  config.listeners[1].connections_max = 1;
  Guests guests(config);
  EXPECT_EQ(guests.enter("10.0.0.1", 1, start), Verdict::welcome);
  EXPECT_EQ(guests.enter("10.0.0.2", 1, start), Verdict::too_many);
  EXPECT_EQ(guests.enter("10.0.0.2", 0, start), Verdict::welcome);
  guests.leave("10.0.0.1", 1);
  EXPECT_EQ(guests.enter("10.0.0.2", 1, start), Verdict::welcome);
}

TEST(Guests, OfOneUserAreSoManyAtOnce) {
  Config config;
  config.connection.per_user_max = 1;
  Guests guests(config);
  EXPECT_TRUE(guests.enter_user("ann", "a1"));
  EXPECT_FALSE(guests.enter_user("ann", "a2"));
  EXPECT_TRUE(guests.enter_user("bob", "b1"));
  guests.leave_user("ann", "a1");
  EXPECT_TRUE(guests.enter_user("ann", "a2"));
  for (const char* id : {"1", "2", "3"}) EXPECT_TRUE(guests.enter_user("", id));
}

TEST(Guests, WhoComesAgainWithItsIdentifierTakesThePlaceThatItHas) {
  Config config;
  config.connection.per_user_max = 1;
  Guests guests(config);
  EXPECT_TRUE(guests.enter_user("ann", "a1"));
  EXPECT_TRUE(guests.enter_user("ann", "a1"));
  guests.leave_user("ann", "a1");  // the older one, which was taken over
  EXPECT_FALSE(guests.enter_user("ann", "a2"));
  guests.leave_user("ann", "a1");
  EXPECT_TRUE(guests.enter_user("ann", "a2"));
}

TEST(Guests, ComeSoManyInASecond) {
  Config config;
  config.connection.per_second_and_address_max = 2;
  config.connection.per_second_max = 3;
  Guests guests(config);
  EXPECT_EQ(guests.enter("10.0.0.1", 0, start), Verdict::welcome);
  EXPECT_EQ(guests.enter("10.0.0.1", 0, start), Verdict::welcome);
  EXPECT_EQ(guests.enter("10.0.0.1", 0, start), Verdict::too_fast);
  EXPECT_EQ(guests.enter("10.0.0.2", 0, start), Verdict::welcome);
  EXPECT_EQ(guests.enter("10.0.0.3", 0, start), Verdict::too_fast);
  EXPECT_EQ(guests.enter("10.0.0.3", 0, start + milliseconds(400)), Verdict::welcome);
  EXPECT_EQ(guests.enter("10.0.0.1", 0, start + seconds(2)), Verdict::welcome);
}

TEST(Guests, WhoAreRefusedForThemselvesLeaveTheCommonRateToOthers) {
  Config config;
  config.connection.per_address_max = 1;
  config.connection.per_second_max = 2;
  Guests guests(config);
  EXPECT_EQ(guests.enter("10.0.0.1", 0, start), Verdict::welcome);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(guests.enter("10.0.0.1", 0, start), Verdict::too_many);
  }
  EXPECT_EQ(guests.enter("10.0.0.2", 0, start), Verdict::welcome);
}

Config with_ban() {
  Config config;
  config.access.ban = {3, 60, 300};
  return config;
}

TEST(Guests, WhoseLoginsFailAreBannedForAWhile) {
  Guests guests(with_ban());
  for (int i = 0; i < 2; ++i) guests.note_failure("10.0.0.1", start);
  EXPECT_EQ(guests.enter("10.0.0.1", 0, start), Verdict::welcome);
  guests.note_failure("10.0.0.1", start + seconds(1));
  EXPECT_EQ(guests.enter("10.0.0.1", 0, start + seconds(300)), Verdict::banned);
  EXPECT_EQ(guests.enter("10.0.0.2", 0, start + seconds(2)), Verdict::welcome);
  EXPECT_EQ(guests.banned(start + seconds(2)), 1u);
  EXPECT_EQ(guests.enter("10.0.0.1", 0, start + seconds(301)), Verdict::welcome);
}

TEST(Guests, AreRefusedOverHttpWhileTheyAreBanned) {
  Guests guests(with_ban());
  EXPECT_FALSE(guests.refuse_request("10.0.0.1", start));
  for (int i = 0; i < 3; ++i) guests.note_failure("10.0.0.1", start);
  EXPECT_TRUE(guests.refuse_request("10.0.0.1", start + seconds(299)));
  EXPECT_FALSE(guests.refuse_request("10.0.0.2", start));
  EXPECT_FALSE(guests.refuse_request("10.0.0.1", start + seconds(300)));
  EXPECT_EQ(guests.addresses_known(), 1u) << "who asks is not remembered for it";
}

TEST(Guests, AreBannedForFailuresWithinTheWindowAlone) {
  Guests guests(with_ban());
  for (int i = 0; i < 6; ++i) guests.note_failure("10.0.0.1", start + seconds(i * 31));
  EXPECT_EQ(guests.banned(start + seconds(200)), 0u);
}

TEST(Guests, OfThisMachineAreNeverBanned) {
  Config config = with_ban();
  config.access.ban.connections = 3;
  Guests guests(config);
  for (int i = 0; i < 10; ++i) {
    guests.note_failure("127.0.0.1", start);
    EXPECT_EQ(guests.enter("127.0.0.1", 0, start), Verdict::welcome);
  }
  EXPECT_EQ(guests.banned(start), 0u);
}

TEST(Guests, WhoConnectAgainAndAgainAreBannedForAWhile) {
  Config config = with_ban();
  config.access.ban.connections = 3;
  Guests guests(config);
  EXPECT_TRUE(guests.limit_addresses());
  const auto come_and_go = [&](seconds at) {
    const Verdict verdict = guests.enter("10.0.0.1", 0, start + at);
    if (verdict == Verdict::welcome) guests.leave("10.0.0.1", 0);
    return verdict;
  };
  for (int i = 0; i < 6; ++i) EXPECT_EQ(come_and_go(seconds(i * 30)), Verdict::welcome);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(come_and_go(seconds(180)), Verdict::welcome);
  EXPECT_EQ(come_and_go(seconds(180)), Verdict::welcome);
  EXPECT_EQ(come_and_go(seconds(181)), Verdict::banned);
  EXPECT_EQ(come_and_go(seconds(480)), Verdict::banned);
  EXPECT_EQ(guests.enter("10.0.0.2", 0, start + seconds(480)), Verdict::welcome);
  EXPECT_EQ(come_and_go(seconds(481)), Verdict::welcome);
}

TEST(Guests, AreForgivenByAReload) {
  Guests guests(with_ban());
  for (int i = 0; i < 3; ++i) guests.note_failure("10.0.0.1", start);
  ASSERT_EQ(guests.banned(start), 1u);
  guests.set_ban(with_ban().access.ban);
  EXPECT_EQ(guests.enter("10.0.0.1", 0, start), Verdict::welcome);
}

TEST(Guests, SoManyOfTheUnwelcomeStayUntilTheyAreTold) {
  Guests guests(with_addresses(1));
  EXPECT_TRUE(guests.begin_telling(2));
  EXPECT_TRUE(guests.begin_telling(2));
  EXPECT_FALSE(guests.begin_telling(2));
  guests.end_telling();
  EXPECT_TRUE(guests.begin_telling(2));
  EXPECT_FALSE(guests.begin_telling(0));
}

TEST(Guests, ThatHaveLeftTakeNoMemoryForEver) {
  Guests guests(with_addresses(1));
  for (std::size_t i = 0; i < 3 * Guests::addresses_max; ++i) {
    const std::string address = std::to_string(i);
    ASSERT_EQ(guests.enter(address, 0, start), Verdict::welcome);
    guests.leave(address, 0);
  }
  EXPECT_LE(guests.addresses_known(), Guests::addresses_max);
}

TEST(Guests, WhoseLoginsFailTakeNoMemoryForEver) {
  Guests guests(with_ban());
  EXPECT_EQ(guests.enter("10.0.0.1", 0, start), Verdict::welcome);
  for (std::size_t i = 0; i < 3 * Guests::addresses_max; ++i) {
    guests.note_failure(std::to_string(i), start);
  }
  EXPECT_LE(guests.addresses_known(), Guests::addresses_max);
  // Who is here is not forgotten.
  for (int i = 0; i < 3; ++i) guests.note_failure("10.0.0.1", start);
  guests.leave("10.0.0.1", 0);
  EXPECT_EQ(guests.enter("10.0.0.1", 0, start), Verdict::banned);
}

TEST(Guests, AreForgottenInTheOrderInWhichTheyLeft) {
  Guests guests(with_ban());
  for (int i = 0; i < 3; ++i) guests.note_failure("10.0.0.1", start);
  for (std::size_t i = 0; i + 1 < Guests::addresses_max; ++i) {
    guests.note_failure(std::to_string(i), start);
  }
  EXPECT_EQ(guests.banned(start), 1u);
  guests.note_failure("one more", start);
  EXPECT_EQ(guests.banned(start), 0u);
}

TEST(RateBucket, GivesItsRateAndLetsADebtBePaidOff) {
  RateBucket bucket(10, start);
  EXPECT_TRUE(bucket.has_some(start));
  bucket.take(15);
  EXPECT_FALSE(bucket.has_some(start + milliseconds(500)));
  EXPECT_TRUE(bucket.has_some(start + milliseconds(700)));
  EXPECT_TRUE(bucket.has_some(start + seconds(100)));
  bucket.take(10);
  EXPECT_FALSE(bucket.has_some(start + seconds(100)));
}

TEST(Guests, OverHttpAUserHasTheRateOfOneClient) {
  Config config;
  config.connection.messages_per_second = 2;
  Guests guests(config);
  EXPECT_EQ(guests.charge_http_publish("ann", 10, start), std::nullopt);
  EXPECT_EQ(guests.charge_http_publish("ann", 10, start), std::nullopt);
  EXPECT_EQ(guests.charge_http_publish("ann", 10, start), seconds(1))
      << "half a second, in whole ones";
  EXPECT_EQ(guests.charge_http_publish("bob", 10, start), std::nullopt);
  EXPECT_EQ(guests.charge_http_publish("ann", 10, start + milliseconds(400)), seconds(1));
  EXPECT_EQ(guests.charge_http_publish("ann", 10, start + milliseconds(600)), std::nullopt)
      << "what was refused does not count";
}

TEST(Guests, OverHttpBytesAreCountedAsWell) {
  Config config;
  config.connection.bytes_per_second = 100;
  Guests guests(config);
  EXPECT_EQ(guests.charge_http_publish("ann", 1000, start), std::nullopt);
  EXPECT_EQ(guests.charge_http_publish("ann", 1, start), seconds(10));
  EXPECT_EQ(guests.charge_http_publish("ann", 1, start + seconds(5)), seconds(5));
  EXPECT_EQ(guests.charge_http_publish("ann", 1, start + seconds(10)), std::nullopt);
}

TEST(Guests, WithoutARateNothingIsKeptOfWhoPublishesOverHttp) {
  Guests guests{Config()};
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(guests.charge_http_publish("ann", 1'000'000, start), std::nullopt);
  }
  EXPECT_EQ(guests.rates_known(), 0u);
}

TEST(Guests, WhoPublishedOverHttpIsForgottenUnlessHeOwesSomething) {
  Config config;
  config.connection.messages_per_second = 1;
  Guests guests(config);
  Guests::Clock::time_point now = start;
  for (std::size_t i = 0; i < 10 * Guests::http_rates_min; ++i, now += seconds(1)) {
    ASSERT_EQ(guests.charge_http_publish(std::to_string(i), 1, now), std::nullopt);
    ASSERT_EQ(guests.charge_http_publish("ann", 1, now), std::nullopt);
    ASSERT_EQ(guests.charge_http_publish("ann", 1, now), seconds(1)) << i;
  }
  EXPECT_LE(guests.rates_known(), Guests::http_rates_min);
}

TEST(Guests, AreBannedUntilTheBanIsLifted) {
  Config config;
  config.access.ban.failures = 1;
  config.access.ban.seconds = 60;
  Guests guests(config);
  guests.note_failure("10.0.0.2", start);
  guests.note_failure("10.0.0.1", start + seconds(10));
  const auto bans = guests.bans(start + seconds(20));
  ASSERT_EQ(bans.size(), 2u);
  EXPECT_EQ(bans[0].address, "10.0.0.1");
  EXPECT_EQ(bans[0].left, seconds(50));
  EXPECT_EQ(bans[1].left, seconds(40));
  EXPECT_TRUE(guests.lift_ban("10.0.0.1", start + seconds(20)));
  EXPECT_FALSE(guests.lift_ban("10.0.0.1", start + seconds(20)));
  EXPECT_FALSE(guests.lift_ban("10.0.0.3", start + seconds(20)));
  EXPECT_EQ(guests.enter("10.0.0.1", 0, start + seconds(20)), Verdict::welcome);
  EXPECT_EQ(guests.enter("10.0.0.2", 0, start + seconds(20)), Verdict::banned);
  EXPECT_TRUE(guests.bans(start + seconds(100)).empty());
}

}  // namespace
}  // namespace millrace::server
