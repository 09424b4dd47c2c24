// What a client may publish in a second, and what becomes of the rest.
#include "server/mqtt/guest.hpp"

#include <gtest/gtest.h>

namespace millrace::server {
namespace {

using Rate = Guest::Rate;

// Of one byte in a second: what a message of so many exceeds it by is paid off in days.
constexpr std::size_t much = 1'000'000;

Config limited(bool drop) {
  Config config;
  config.connection.bytes_per_second = 1;
  config.connection.drop_qos0_over_rate = drop;
  return config;
}

Config limited_listener(bool drop) {
  Config config;
  config.listeners[0].bytes_per_second = 1;
  config.listeners[0].drop_qos0_over_rate = drop;
  return config;
}

struct OneGuest {
  explicit OneGuest(const Config& config)
      : guests(config), guest(guests, 0, config.connection), other(guests, 0, config.connection) {}
  Guests guests;
  Guest guest, other;  // of one listener
};

TEST(Guest, WaitsAtAnyQosWhenItExceedsItsRate) {
  for (const bool is_qos0 : {true, false}) {
    OneGuest one(limited(false));
    EXPECT_EQ(one.guest.take(much, is_qos0), Rate::taken);
    EXPECT_FALSE(one.guest.must_wait()) << "nothing of it waits";
    EXPECT_EQ(one.guest.take(1, is_qos0), Rate::waits);
    EXPECT_TRUE(one.guest.must_wait());
    EXPECT_EQ(one.other.take(1, is_qos0), Rate::taken);
    EXPECT_FALSE(one.other.must_wait());
  }
}

TEST(Guest, LosesWhatExceedsItsRateAtQos0AndIsReadOnWhereThatIsDropped) {
  OneGuest one(limited(true));
  EXPECT_EQ(one.guest.take(much, true), Rate::taken);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(one.guest.take(1, true), Rate::drop);
  EXPECT_FALSE(one.guest.must_wait());
  EXPECT_EQ(one.other.take(1, true), Rate::taken);
}

TEST(Guest, WaitsWithQos1WhereQos0IsDropped) {
  OneGuest one(limited(true));
  EXPECT_EQ(one.guest.take(much, true), Rate::taken);
  EXPECT_EQ(one.guest.take(1, false), Rate::waits);
  EXPECT_TRUE(one.guest.must_wait());
}

TEST(Guest, WaitsForWhatOthersOfItsListenerPublishedOnlyWithAMessageOfItsOwn) {
  OneGuest one(limited_listener(false));
  EXPECT_EQ(one.other.take(much, true), Rate::taken);
  EXPECT_FALSE(one.guest.must_wait());
  EXPECT_EQ(one.guest.take(1, true), Rate::waits);
  EXPECT_TRUE(one.guest.must_wait());
  EXPECT_FALSE(one.other.must_wait());
}

TEST(Guest, LosesWhatExceedsTheRateOfItsListenerAtQos0WhereThatIsDropped) {
  OneGuest one(limited_listener(true));
  EXPECT_EQ(one.other.take(much, true), Rate::taken);
  EXPECT_EQ(one.guest.take(1, true), Rate::drop);
  EXPECT_FALSE(one.guest.must_wait());
  EXPECT_EQ(one.guest.take(1, false), Rate::waits);
  EXPECT_TRUE(one.guest.must_wait());
  EXPECT_FALSE(one.other.must_wait()) << "it sent nothing but QoS 0";
}

// Each by its own setting.
TEST(Guest, WaitsForItsOwnRateWhereItsListenerDrops) {
  Config config = limited_listener(true);
  config.listeners[0].bytes_per_second = 100 * much;
  config.connection.bytes_per_second = 1;
  OneGuest one(config);
  EXPECT_EQ(one.guest.take(much, true), Rate::taken);
  EXPECT_EQ(one.guest.take(1, true), Rate::waits);
  EXPECT_TRUE(one.guest.must_wait());
  EXPECT_EQ(one.other.take(10'000 * much, true), Rate::taken);
  EXPECT_EQ(one.other.take(1, true), Rate::drop);
  EXPECT_FALSE(one.other.must_wait());
}

TEST(Guest, IsWithinARateThatItDoesNotReach) {
  for (const bool drop : {true, false}) {
    Config config;
    config.connection.messages_per_second = 1000;
    config.connection.drop_qos0_over_rate = drop;
    OneGuest one(config);
    for (int i = 0; i < 100; ++i) {
      EXPECT_EQ(one.guest.take(much, i % 2 == 0), Rate::taken);
    }
    EXPECT_FALSE(one.guest.must_wait());
  }
}

}  // namespace
}  // namespace millrace::server
