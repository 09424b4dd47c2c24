// Latest-only slots: the cost of publishing, reading, finding and creating topics, and the
// throughput of one slot between a writer and a reader that both run at full speed.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

// Debian has xenium only for amd64; elsewhere its lines are left out.
#if __has_include(<xenium/seqlock.hpp>)
#include <xenium/left_right.hpp>
#include <xenium/seqlock.hpp>
#define MILLRACE_BENCH_XENIUM 1
#endif

#include "bench/table.hpp"
#include "bench/timing.hpp"
#include "core/latest/bus.hpp"
#include "core/latest/slot.hpp"
#include "core/latest/slot_index.hpp"
#include "core/latest/topic.hpp"

namespace millrace::bench {
namespace {

using base::hash_name;
using latest::Bus;
using latest::make_ref;
using latest::Slot;
using latest::SlotIndex;
using latest::Topic;

using Payload = std::array<std::uint64_t, 8>;  // 64 bytes
constexpr std::size_t kTopics = 200'000;

std::vector<std::string> make_names(std::size_t count) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < count; ++i) {
    std::string name = "plant/";
    name += std::to_string(i % 977);
    name += "/sensor/";
    name += std::to_string(i);
    names.push_back(std::move(name));
  }
  return names;
}

const std::vector<std::string>& names() {
  static const std::vector<std::string> all = make_names(kTopics);
  return all;
}

// The operations, as function objects with their state, used by Google Benchmark and by the table.

struct PublishOne {
  latest::Ref<Topic<Payload>> topic = Topic<Payload>::make("t");
  Payload payload{};
  void operator()() { payload[0] = topic->publish(payload).value(); }
};

struct PublishFollowed : PublishOne {
  latest::Subscriber<Payload> subscriber = topic->subscribe();
};

struct PublishByName {
  Bus<Payload> bus;
  Payload payload{};
  std::size_t next = 0;
  PublishByName() {
    for (std::size_t i = 0; i < 1000; ++i) bus.publish(names()[i], payload).value();
  }
  void operator()() {
    payload[0] = bus.publish(names()[next = (next + 1) % 1000], payload).value();
  }
};

struct PublishThenTryGet : PublishFollowed {
  void operator()() {
    PublishOne::operator()();
    const auto poll = subscriber.try_get();
    benchmark::DoNotOptimize(poll.value()[0]);
  }
};

struct TryGetNothing : PublishFollowed {
  void operator()() { benchmark::DoNotOptimize(subscriber.try_get().news()); }
};

template <std::size_t Count>
struct LookUpTopic {
  Bus<std::uint64_t> bus{latest::BusOptions::with_capacity(Count)};
  const std::string* const wanted = names().data();
  std::size_t next = 0;
  LookUpTopic() {
    for (std::size_t i = 0; i < Count; ++i) bus.publish(wanted[i], 1U).value();
  }
  void operator()() {
    next = next + 1 == Count ? 0 : next + 1;
    benchmark::DoNotOptimize(bus.topic(wanted[next]).value().get());
  }
};

/// Like the server's topic table: an entry has a name, a slot, and state for the writer.
struct Entry {
  Entry(std::string_view text, std::uint64_t hash) : name_(text), hash_(hash) {}
  [[nodiscard]] std::string_view name() const { return name_; }
  [[nodiscard]] std::uint64_t hash() const { return hash_; }

 private:
  std::string name_;
  std::uint64_t hash_;
  Slot<latest::Ref<latest::SharedBox<int>>> slot_;
  std::array<std::uint64_t, 6> state_{};
};

/// The names to look up are consecutive in memory, as in a receive buffer; the entries are not.
struct LookUpEntry {
  struct Wanted {
    std::uint64_t hash;
    std::uint32_t bytes;
    std::array<char, 52> text;
  };
  SlotIndex<Entry> index;
  std::vector<Wanted> wanted;
  std::size_t next = 0;
  LookUpEntry() {
    for (const std::string& name : names()) {
      index.insert(std::make_unique<Entry>(name, hash_name(name)));
      Wanted& last = wanted.emplace_back();
      last.hash = hash_name(name);
      last.bytes = static_cast<std::uint32_t>(name.copy(last.text.data(), last.text.size()));
    }
    std::uint64_t random = 1;  // shuffled, so not in the order in which the entries were created
    for (std::size_t i = wanted.size(); i > 1; --i) {
      random = random * 6364136223846793005U + 1442695040888963407U;
      std::swap(wanted[i - 1], wanted[(random >> 33) % i]);
    }
  }
  void operator()() {
    const Wanted& now = wanted[next];
    next = next + 1 == wanted.size() ? 0 : next + 1;
    benchmark::DoNotOptimize(index.find(now.hash, {now.text.data(), now.bytes}));
  }
};

struct StoreHandle {
  using Handle = latest::Ref<latest::SharedBox<int>>;
  Slot<Handle> slot;
  std::array<Handle, 2> values{make_ref<latest::SharedBox<int>>(1),
                               make_ref<latest::SharedBox<int>>(2)};
  std::size_t next = 0;
  void operator()() { slot.store(values[next = 1 - next]); }
};

struct LoadHandle : StoreHandle {
  LoadHandle() { StoreHandle::operator()(); }
  void operator()() { benchmark::DoNotOptimize(slot.load()->version); }
};

template <typename Operation>
void run(benchmark::State& state) {
  Operation operation;
  for (auto _ : state) operation();
}
BENCHMARK(run<PublishOne>)->Name("latest/publish, no subscriber");
BENCHMARK(run<PublishFollowed>)->Name("latest/publish, one subscriber");
BENCHMARK(run<PublishByName>)->Name("latest/publish by name");
BENCHMARK(run<PublishThenTryGet>)->Name("latest/publish, then try_get");
BENCHMARK(run<TryGetNothing>)->Name("latest/try_get, nothing new");
BENCHMARK(run<LookUpTopic<1000>>)->Name("latest/topic look-up among 1000");
BENCHMARK(run<LookUpTopic<kTopics>>)->Name("latest/topic look-up among 200 k");
BENCHMARK(run<LookUpEntry>)->Name("latest/index look-up among 200 k, random order");
BENCHMARK(run<StoreHandle>)->Name("latest/slot of handles, store");
BENCHMARK(run<LoadHandle>)->Name("latest/slot of handles, load");

/// Nanoseconds per operation over about a tenth of a second.
template <typename Operation>
double measure() {
  static Operation operation;
  constexpr std::size_t kChunk = 20'000;
  std::size_t done = 0;
  const auto start = thread_time();
  auto now = start;
  do {
    for (std::size_t i = 0; i < kChunk; ++i) operation();
    done += kChunk;
    now = thread_time();
  } while (now - start < std::chrono::milliseconds(100));
  return nanoseconds(now - start) / static_cast<double>(done);
}

/// Nanoseconds to create a topic: 200 k distinct ones in a new bus of that capacity.
double measure_creation() {
  const auto& all = names();
  auto bus = Bus<std::uint64_t>::with_capacity(kTopics);
  const auto start = thread_time();
  for (const std::string& name : all) benchmark::DoNotOptimize(bus.topic(name).value().get());
  return nanoseconds(thread_time() - start) / static_cast<double>(kTopics);
}

/// Microseconds to create a bus and a thousand topics, and publish to each.
double measure_thousand() {
  constexpr int kTimes = 50;
  std::array<double, kTimes> figures;
  for (double& figure : figures) {
    const auto start = thread_time();
    Bus<std::uint64_t> bus;
    for (std::size_t i = 0; i < 1000; ++i) bus.publish(names()[i], i).value();
    figure = nanoseconds(thread_time() - start) / 1000;
  }
  std::ranges::nth_element(figures, figures.begin() + kTimes / 2);
  return figures[kTimes / 2];
}

/// Microseconds of the slowest of a million insertions into an index that starts empty. The index
/// does the same work in each run, but other load on the machine differs: the best of three runs
/// counts for each insertion.
double measure_worst_insertion() {
  constexpr std::size_t kEntries = 1'000'000;
  std::vector<float> best(kEntries, 1e9F);
  for (int run = 0; run < 3; ++run) {
    std::vector<std::unique_ptr<Entry>> entries;
    for (std::size_t i = 0; i < kEntries; ++i) {
      const std::string name = std::to_string(i);
      entries.push_back(std::make_unique<Entry>(name, hash_name(name)));
    }
    SlotIndex<Entry> index;
    for (std::size_t i = 0; i < kEntries; ++i) {
      const auto start = Clock::now();
      index.insert(std::move(entries[i]));
      best[i] = std::min(best[i], static_cast<float>(nanoseconds(Clock::now() - start)));
    }
  }
  return *std::ranges::max_element(best) / 1000;
}

struct Rates {
  double writes = 0;  // millions a second
  double reads = 0;
  double together = 0;  // the share of the time in which both threads had a core
};

/// One writer and one reader at full speed for two milliseconds.
template <typename Write, typename Read>
Rates race_once(Write write, Read read) {
  std::atomic<bool> over{false}, reading{false};
  double reads = 0, reader_time = 0;
  std::thread reader([&] {
    reading.store(true);
    const auto start = Clock::now();
    const auto busy_start = thread_time();
    while (!over.load(std::memory_order_relaxed)) {
      for (int i = 0; i < 64; ++i) reads += read() ? 1 : 0;
    }
    const double wall = nanoseconds(Clock::now() - start);
    reader_time = nanoseconds(thread_time() - busy_start) / wall;
    reads *= 1000 / wall;
  });
  while (!reading.load()) write(0);
  const auto start = Clock::now();
  const auto busy_start = thread_time();
  std::uint64_t writes = 0;
  auto now = start;
  for (; now - start < std::chrono::milliseconds(2); now = Clock::now()) {
    for (int i = 0; i < 64; ++i) write(++writes);
  }
  const double wall = nanoseconds(now - start);
  const double writer_time = nanoseconds(thread_time() - busy_start) / wall;
  over.store(true);
  reader.join();
  return {static_cast<double>(writes) * 1000 / wall, reads, std::min(writer_time, reader_time)};
}

/// The median, by writes, of the seven least disturbed of many short runs: without that, the
/// threads might share a core, and so have no contention.
template <typename Race>
Rates race(Race once) {
  constexpr int kRunsMax = 600, kWanted = 7;
  std::vector<Rates> runs;
  int undisturbed = 0;
  for (int i = 0; i < kRunsMax && undisturbed < kWanted; ++i) {
    runs.push_back(once());
    if (runs.back().together > 0.97) ++undisturbed;
  }
  std::ranges::sort(runs, std::ranges::greater{}, &Rates::together);
  runs.resize(kWanted);
  std::ranges::sort(runs, {}, &Rates::writes);
  return runs[kWanted / 2];
}

Payload payload_of(std::uint64_t number) {
  Payload payload;
  payload.fill(number);
  return payload;
}

/// Aborts if the value is torn. The rivals start with a stored value, since they cannot be empty.
void check_whole(const Payload& payload) {
  for (const std::uint64_t word : payload) {
    if (word != payload[0]) std::abort();
  }
}

Rates race_slot() {
  Slot<Payload> slot;
  return race_once([&](std::uint64_t number) { slot.store(payload_of(number)); },
                   [&] {
                     const auto loaded = slot.load();
                     if (loaded) check_whole(loaded->value);
                     return loaded.has_value();
                   });
}

#ifdef MILLRACE_BENCH_XENIUM
Rates race_seqlock() {
  xenium::seqlock<Payload> slot{payload_of(0)};
  return race_once([&](std::uint64_t number) { slot.store(payload_of(number)); },
                   [&] {
                     check_whole(slot.load());
                     return true;
                   });
}

Rates race_left_right() {
  xenium::left_right<Payload> slot{payload_of(0)};
  return race_once(
      [&](std::uint64_t number) { slot.update([&](Payload& it) { it = payload_of(number); }); },
      [&] {
        slot.read([](const Payload& it) { check_whole(it); });
        return true;
      });
}
#endif

void race_benchmark(benchmark::State& state) {
  Rates rates;
  for (auto _ : state) rates = race(race_slot);
  state.counters["writes_M/s"] = rates.writes;
  state.counters["reads_M/s"] = rates.reads;
  state.counters["together"] = rates.together;
}
BENCHMARK(race_benchmark)
    ->Name("latest/one writer, one reader, 64 bytes")
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);

Rival goal(double figure) {
  return {.name = "goal", .measure = {}, .figure = figure};
}

void add(const char* work, const char* unit, Measure ours, double figure) {
  add_comparison({.work = work,
                  .unit = unit,
                  .better = Better::lower,
                  .ours = std::move(ours),
                  .rivals = {goal(figure)}});
}

template <auto Once, double Rates::*Side>
double measure_race() {
  return race(Once).*Side;
}

/// The rivals' lines have no required ratio: each rival favours either reads or writes.
template <double Rates::*Side>
void add_race(const char* work, double figure) {
  add_comparison({.work = work,
                  .unit = "M/s",
                  .better = Better::higher,
                  .ours = measure_race<race_slot, Side>,
                  .rivals = {
                      goal(figure),
#ifdef MILLRACE_BENCH_XENIUM
                      {"xenium::seqlock", measure_race<race_seqlock, Side>, 0.0},
                      {"xenium::left_right", measure_race<race_left_right, Side>, 0.0},
#endif
                  }});
}

const bool added = [] {
  add("latest: publish, no subscriber", "ns", measure<PublishOne>, 8);
  add("latest: publish, one subscriber", "ns", measure<PublishFollowed>, 20);
  add("latest: publish by name, 1000 topics", "ns", measure<PublishByName>, 50);
  add("latest: publish, then try_get", "ns", measure<PublishThenTryGet>, 40);
  add("latest: try_get, nothing new", "ns", measure<TryGetNothing>, 3);
  add("latest: topic look-up, 1000 topics", "ns", measure<LookUpTopic<1000>>, 30);
  add("latest: index look-up, 200 k, random", "ns", measure<LookUpEntry>, 30);
  add("latest: topic creation, 200 k", "ns", measure_creation, 250);
  add("latest: 1000 topics made and published", "us", measure_thousand, 150);
  add("latest: worst insertion up to 1 M", "us", measure_worst_insertion, 100);
  add_race<&Rates::writes>("latest: writes beside a reader, 64 bytes", 7);
  add_race<&Rates::reads>("latest: reads beside that writer", 15);
  return true;
}();

}  // namespace
}  // namespace millrace::bench
