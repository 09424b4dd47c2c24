// The bus: batches of strings, and the time from a publish until a waiting thread has the value.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bench/table.hpp"
#include "bench/timing.hpp"
#include "core/latest/bus.hpp"

namespace millrace::bench {
namespace {

using latest::Bus;
using latest::Topic;

/// Microseconds to publish a batch of a thousand strings by `publish`; the median of many.
template <typename Publish>
double measure_strings(Publish publish) {
  std::vector<std::string> messages;
  for (int i = 0; i < 1000; ++i) messages.push_back("message " + std::to_string(i));
  constexpr int kTimes = 501;
  std::array<double, kTimes> figures;
  for (double& figure : figures) {
    const auto start = thread_time();
    for (const std::string& message : messages) publish(message);
    figure = nanoseconds(thread_time() - start) / 1000;
  }
  std::ranges::nth_element(figures, figures.begin() + kTimes / 2);
  return figures[kTimes / 2];
}

double measure_strings_to_a_topic() {
  const auto topic = Topic<std::string>::make("t");
  return measure_strings([&](const std::string& message) { topic->publish(message).value(); });
}

double measure_strings_by_name() {
  Bus<std::string> bus;
  return measure_strings([&](const std::string& message) { bus.publish("t", message).value(); });
}

/// Microseconds from a publish until the thread that waits for it has the value, the median of some
/// hundred. The publisher pauses `gap` before each.
template <typename Line>
double measure_wake_up(Line& line, std::chrono::microseconds gap) {
  constexpr std::size_t kTimes = 300;
  std::vector<double> latencies;
  std::atomic<std::size_t> received{0};
  std::thread waiter([&] {
    while (const std::int64_t sent = line.wait()) {
      latencies.push_back(nanoseconds(Clock::now().time_since_epoch()) - static_cast<double>(sent));
      received.store(latencies.size());
    }
  });
  for (std::size_t i = 1; i <= kTimes; ++i) {
    std::this_thread::sleep_for(gap);
    line.publish(std::chrono::nanoseconds(Clock::now().time_since_epoch()).count());
    while (received.load() < i) std::this_thread::yield();
  }
  line.publish(0);
  waiter.join();
  std::ranges::nth_element(latencies, latencies.begin() + kTimes / 2);
  return latencies[kTimes / 2] / 1000;
}

struct BusLine {
  explicit BusLine(latest::BusOptions options) : bus(options) {}
  void publish(std::int64_t value) { bus.publish("t", value).value(); }
  std::int64_t wait() { return subscriber.wait().value(); }

  Bus<std::int64_t> bus;
  latest::Subscriber<std::int64_t> subscriber = bus.subscribe("t");
};

/// The same with a condition variable, for comparison.
struct ConditionVariableLine {
  void publish(std::int64_t next) {
    {
      const std::lock_guard guard(mutex);
      value = next;
      fresh = true;
    }
    changed.notify_one();
  }
  std::int64_t wait() {
    std::unique_lock guard(mutex);
    changed.wait(guard, [this] { return fresh; });
    fresh = false;
    return value;
  }

  std::mutex mutex;
  std::condition_variable changed;
  std::int64_t value = 0;
  bool fresh = false;
};

constexpr std::chrono::microseconds kGap(100);

double wake_up_of(latest::BusOptions options) {
  BusLine line(options);
  return measure_wake_up(line, kGap);
}
double wake_up_by_default() {
  return wake_up_of({});
}
double wake_up_low_latency() {
  return wake_up_of(latest::BusOptions::low_latency());
}
double wake_up_high_throughput() {
  return wake_up_of(latest::BusOptions::high_throughput());
}
double wake_up_condition_variable() {
  ConditionVariableLine line;
  return measure_wake_up(line, kGap);
}

void add_seed(const char* work, Measure ours, double figure) {
  add_comparison({.work = work,
                  .unit = "us",
                  .better = Better::lower,
                  .ours = std::move(ours),
                  .rivals = {{"the predecessor's published figure", {}, 1.0, figure}}});
}

/// From a publish to the thread that waits, with 100 us between publishes.
void add_wake_up(const char* work, Measure ours, Rival rival = {}) {
  std::vector<Rival> rivals{{"a condition variable", wake_up_condition_variable, 0.8}};
  if (rival.measure) rivals.push_back(std::move(rival));
  add_comparison({.work = work,
                  .unit = "us",
                  .better = Better::lower,
                  .ours = std::move(ours),
                  .rivals = std::move(rivals)});
}

const bool added = [] {
  add_seed("latest: 1,000 strings to one topic", measure_strings_to_a_topic, 11);
  add_seed("latest: 1,000 strings to one name", measure_strings_by_name, 11);
  add_wake_up("latest: wake-up, default preset", wake_up_by_default);
  add_wake_up("latest: wake-up, high_throughput preset", wake_up_high_throughput);
  add_wake_up("latest: wake-up, low_latency preset", wake_up_low_latency,
              {"the default preset", wake_up_by_default, 1.0});
  return true;
}();

}  // namespace
}  // namespace millrace::bench
