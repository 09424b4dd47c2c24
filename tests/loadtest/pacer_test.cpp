// The schedule of the open loop without a broker: publishers that never connect have no room, so
// every due message stays unsent, and record_unsent() must report all of them and their waiting
// times.
#include "loadtest/pacer.hpp"

#include <gtest/gtest.h>

#include "loadtest/slope.hpp"

namespace millrace::loadtest {
namespace {

struct NoEvents : ClientEvents {
  void on_ready(Client&) override {}
  void on_subscribed(Client&) override {}
  void on_closed(Client&, const std::string&) override {}
};

TEST(OpenLoop, TellsEachMessageThatWasDueAndNotSent) {
  EventLoop loop(false);
  const Endpoint endpoint;
  NoEvents events;
  Client a(loop, endpoint, events, "a");
  Client b(loop, endpoint, events, "b");
  OpenLoop pacer({&a, &b}, 1000, 5'000'000);  // a message each millisecond, alternating
  pacer.step(5'000'000 + 10'500'000, 1'000'000);
  EXPECT_EQ(pacer.published(), 0u);
  Measurement measurement;
  measurement.window_begin_ns = 7'000'000;  // the first two belong to the warm-up
  EXPECT_EQ(pacer.record_unsent(15'500'000, measurement, 3), 11u);
  EXPECT_EQ(measurement.latency.count(), 9u * 3);
  EXPECT_EQ(measurement.latency.max(), 8'500'000u);
  EXPECT_EQ(measurement.latency.min(), 500'000u);
  EXPECT_TRUE(measurement.service.empty());
}

TEST(OpenLoop, SaysWhenTheNextMessageIsDue) {
  EventLoop loop(false);
  const Endpoint endpoint;
  NoEvents events;
  Client a(loop, endpoint, events, "a");
  OpenLoop pacer({&a}, 1000, 5'000'000);
  EXPECT_EQ(pacer.step(4'900'000, 10), 100'000);
}

TEST(Slope, IsThatOfTheLineBehindTheNoise) {
  Slope slope;
  for (int x = 0; x < 100; ++x) slope.add(x, x < 20 ? 7e9 : 1e9 + 3.0 * x + (x % 2 ? 0.5 : -0.5));
  EXPECT_NEAR(slope.slope_from(20), 3.0, 0.01);
  EXPECT_EQ(Slope().slope_from(0), 0);
}

}  // namespace
}  // namespace millrace::loadtest
