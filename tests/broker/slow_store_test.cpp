// The journal in front of a store with its thread, on a disk that does not keep up.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <latch>
#include <string>
#include <system_error>
#include <thread>

#include "core/store/store.hpp"
#include "tests/broker/world.hpp"
#include "tests/store/faulty_files.hpp"
#include "tests/store/life.hpp"

namespace millrace::broker {
namespace {

// So much more than the store may hold at once.
constexpr std::uint64_t waiting_bytes_max = 20'000;
constexpr int value_count = 1000;
constexpr std::size_t value_bytes = 1000;

class SlowStore : public testing::Test {
 protected:
  SlowStore() : store_(files_, options()) {
    store_.open([](const store::Record&) {});
    world_.start_with({}, store_, 0, {.waiting_bytes_max = waiting_bytes_max});
  }
  static store::StoreOptions options() {
    store::StoreOptions options;
    options.waiting_bytes_max = waiting_bytes_max;
    options.retry_interval = std::chrono::milliseconds(1);
    return options;
  }
  void publish(const std::string& topic, int qos) {
    sender_.publish(topic, std::string(value_bytes, 'x'), qos, true);
  }
  void publish_values() {
    for (int i = 0; i < value_count; ++i) publish("v/" + std::to_string(i), 0);
  }
  std::uint64_t stored_retained() {
    store_.stop();
    std::uint64_t count = 0;
    store::Log log(files_, {});
    log.open([&](const store::Record& record) {
      count += record.key.space == records::retained_space ? 1 : 0;
    });
    return count;
  }

  store::FaultyFiles files_;
  store::Store store_;
  World world_;
  Peer& sender_ = world_.peer("writer").connect();
};

TEST_F(SlowStore, WhatWaitsForItIsWrittenWhenItHasCaughtUp) {
  std::atomic<bool> is_used{false};
  std::latch goes_on(1);
  files_.before_change = [&] {
    is_used.store(true);
    goes_on.wait();
    return std::error_code();
  };
  store_.start({});
  publish("at once", 1);
  while (!is_used.load()) std::this_thread::yield();
  for (int i = 0; !store_.is_behind(); ++i) publish("at once/" + std::to_string(i), 1);
  publish_values();
  const std::uint64_t before = store_.figures().records.value();
  for (int second = 0; second < 3; ++second) world_.advance_ms(1000);
  EXPECT_EQ(store_.figures().records.value(), before);
  goes_on.count_down();
  const Processor& processor = world_.processor;
  while (processor.next_deadline_ns() != Processor::no_deadline && !store_.failed()) {
    world_.now_ns = std::max(world_.now_ns, processor.next_deadline_ns());
    world_.run_until_idle();
    std::this_thread::yield();
  }
  EXPECT_FALSE(store_.failed());
  EXPECT_EQ(stored_retained(), processor.stats().retained.value());
}

TEST_F(SlowStore, TheEndWritesAllThatWaitsNoFasterThanItIsTaken) {
  store_.start({});
  publish_values();
  world_.processor.close_journal();
  EXPECT_FALSE(store_.failed());
  EXPECT_EQ(stored_retained(), static_cast<std::uint64_t>(value_count));
}

TEST_F(SlowStore, TheEndDoesNotWaitForADiskThatFails) {
  files_.before_change = [] { return std::make_error_code(std::errc::no_space_on_device); };
  store_.start({});
  publish("at once", 1);
  while (store_.state() == store::Store::State::good) std::this_thread::yield();
  publish_values();
  world_.processor.close_journal();
  EXPECT_EQ(store_.state(), store::Store::State::failing) << "no more waits than it may hold";
}

}  // namespace
}  // namespace millrace::broker
