// Who failed waits, longer each time, and not for ever.
#include "server/auth/login_delays.hpp"

#include <gtest/gtest.h>

namespace millrace::server {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using Clock = LoginDelays::Clock;

const Clock::time_point start = Clock::time_point{} + hours(1);
const Login login{"10.0.0.1", "ann"};

void fail(LoginDelays& delays, std::uint32_t times, const Login& who = login) {
  for (std::uint32_t i = 0; i < times; ++i) delays.note_failure(who, start);
}

TEST(LoginDelays, LetAFewMistakesPass) {
  LoginDelays delays;
  fail(delays, LoginDelays::free_failures);
  EXPECT_LE(delays.address_due("10.0.0.1"), start);
  EXPECT_LE(delays.user_due(login), start);
}

TEST(LoginDelays, GrowWithEachFailureUpToTheirLimit) {
  LoginDelays delays;
  delays.set_delay_max(milliseconds(1000));
  fail(delays, LoginDelays::free_failures + 1);
  EXPECT_EQ(delays.address_due("10.0.0.1"), start + milliseconds(100));
  fail(delays, 1);
  EXPECT_EQ(delays.address_due("10.0.0.1"), start + milliseconds(200));
  EXPECT_EQ(delays.user_due(login), start + milliseconds(200));
  fail(delays, 50);
  EXPECT_EQ(delays.address_due("10.0.0.1"), start + milliseconds(1000));
  EXPECT_LE(delays.address_due("10.0.0.2"), start);
  EXPECT_LE(delays.user_due({"10.0.0.1", "bob"}), start);
  delays.set_delay_max(milliseconds(0));
  EXPECT_LE(delays.address_due("10.0.0.1"), start);
}

TEST(LoginDelays, FadeInQuietMinutes) {
  LoginDelays delays;
  fail(delays, 8);
  delays.note_failure(login, start + minutes(1));  // 4 are remembered
  EXPECT_LE(delays.user_due(login), start + minutes(1));
}

TEST(LoginDelays, OfANameEndWhenItIsProven) {
  LoginDelays delays;
  fail(delays, 20);
  delays.note_success(login, start);
  EXPECT_LE(delays.user_due(login), start);
  EXPECT_GT(delays.address_due("10.0.0.1"), start);
}

TEST(LoginDelays, OfOthersDoNotHoldUpWhoHasProvenTheName) {
  LoginDelays delays;
  delays.note_success(login, start);
  for (int i = 0; i < 100; ++i) fail(delays, 1, {"10.1.0." + std::to_string(i), "ann"});
  EXPECT_LE(delays.user_due(login), start);
  EXPECT_GT(delays.user_due({"10.1.0.200", "ann"}), start);
  // Its own do; and what it proves does not help the others.
  delays.note_success(login, start);
  EXPECT_GT(delays.user_due({"10.1.0.200", "ann"}), start);
  fail(delays, LoginDelays::free_failures + 1);
  EXPECT_GT(delays.user_due(login), start);
  delays.note_success(login, start);
  EXPECT_LE(delays.user_due(login), start);
}

TEST(LoginDelays, AreNotLiftedByAProofFromThisMachine) {
  LoginDelays delays;
  delays.note_success({"127.0.0.1", "ann"}, start);
  fail(delays, 20, {"10.0.0.9", "ann"});
  EXPECT_GT(delays.user_due({"127.0.0.1", "ann"}), start);
}

TEST(LoginDelays, DoNotHoldUpThisMachineButItsNames) {
  LoginDelays delays;
  fail(delays, 20, {"127.0.0.1", "ann"});
  fail(delays, 20, {"::1", "ann"});
  EXPECT_LE(delays.address_due("127.0.0.1"), start);
  EXPECT_LE(delays.address_due("::1"), start);
  EXPECT_GT(delays.user_due(login), start);
}

TEST(LoginDelays, AreBounded) {
  LoginDelays delays(10);
  for (int i = 0; i < 1000; ++i) {
    delays.note_failure({"10.0.0." + std::to_string(i), std::to_string(i)}, start);
  }
  for (int i = 0; i < 1000; ++i) delays.note_success({std::to_string(i), "ann"}, start);
  EXPECT_LE(delays.size(), 30u);
  fail(delays, 20);
  EXPECT_GT(delays.user_due(login), start);
}

TEST(AddressGroup, IsAllThatOneOwnerHas) {
  EXPECT_EQ(address_group("10.0.0.1"), "10.0.0.1");
  EXPECT_EQ(address_group("::ffff:10.0.0.1"), "10.0.0.1");
  EXPECT_EQ(address_group("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
  EXPECT_EQ(address_group("2001:db8:1:2::9"), address_group("2001:db8:1:2:3:4:5:6"));
  EXPECT_EQ(address_group("fe80::1%eth0"), "fe80::/64");
  EXPECT_EQ(address_group("::1"), "::1");
}

}  // namespace
}  // namespace millrace::server
