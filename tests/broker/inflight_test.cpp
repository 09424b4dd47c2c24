#include "core/broker/inflight.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <utility>

namespace millrace::broker {
namespace {

// What the window is told, beside it as plain as can be: identifiers in use, in the order of their
// messages. The number of the subscription stands for the message.
class Model {
 public:
  explicit Model(std::uint64_t seed) : random_(seed) {}

  void add() {
    ASSERT_TRUE(window_.has_identifier());
    Delivery delivery;
    delivery.qos = 1;
    const std::uint16_t packet_id = window_.add(std::move(delivery), ++number_);
    ASSERT_NE(packet_id, 0);
    ASSERT_TRUE(in_use_.emplace(packet_id, number_).second)
        << "identifier " << packet_id << " is in use [MQTT-2.2.1-4]";
  }
  void settle(std::uint16_t packet_id) {
    Inflight* entry = window_.find(packet_id);
    ASSERT_NE(entry, nullptr);
    ASSERT_EQ(entry->subscription, in_use_.at(packet_id));
    window_.settle(*entry);
    ASSERT_EQ(window_.find(packet_id), nullptr);
    in_use_.erase(packet_id);
  }
  // One that is in use; those of the first messages never settle.
  void settle_any(std::uint32_t stubborn) {
    const auto from = static_cast<std::uint16_t>(random_());
    auto found = in_use_.lower_bound(from);
    for (std::size_t i = 0; i < in_use_.size(); ++i, ++found) {
      if (found == in_use_.end()) found = in_use_.begin();
      if (found->second > stubborn) return settle(found->first);
    }
  }
  void check() {
    ASSERT_EQ(window_.unsettled(), in_use_.size());
    std::uint32_t before = 0;
    std::size_t seen = 0;
    window_.for_each_unsettled([&](Inflight& entry) {
      EXPECT_LT(before, entry.subscription) << "not in the order of sending";
      before = entry.subscription;
      EXPECT_EQ(in_use_.at(entry.delivery.packet_id), entry.subscription);
      ++seen;
    });
    ASSERT_EQ(seen, in_use_.size());
  }
  std::size_t size() const { return in_use_.size(); }

 private:
  std::mt19937_64 random_;
  InflightWindow window_;
  std::map<std::uint16_t, std::uint32_t> in_use_;
  std::uint32_t number_ = 0;
};

TEST(InflightWindow, UsesNoIdentifierTwiceWhateverNeverSettles) {
  for (const std::uint32_t stubborn : {1u, 3u, 700u}) {
    for (const std::size_t inflight : {800u, 5'000u}) {
      Model model(stubborn);
      for (std::uint32_t i = 0; i < 3 * InflightWindow::identifier_count; ++i) {
        model.add();
        if (model.size() > inflight) model.settle_any(stubborn);
        if (i % 40'000 == 0) model.check();
        if (testing::Test::HasFatalFailure()) return;
      }
      model.check();
    }
  }
}

TEST(InflightWindow, IsFullWhileSomeIdentifiersAreFree) {
  Model model(1);
  while (model.size() < InflightWindow::unsettled_max) model.add();
  model.check();
  // The one that was sent last, again and again: the next free one is a few steps away each time.
  for (int i = 0; i < 10'000; ++i) {
    model.settle_any(0);
    model.add();
    if (testing::Test::HasFatalFailure()) return;
  }
  model.check();
}

}  // namespace
}  // namespace millrace::broker
