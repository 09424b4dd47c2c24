// The elastic MPSC queue next to moodycamel::ConcurrentQueue, boost::lockfree::queue and xenium's
// vyukov_bounded_queue: N producers push as fast as they can, one consumer pops, each yields when
// the queue is full or empty. Items of 8 and 64 bytes, singles and batches of 64. The cost of
// growing. One thread that pushes and pops in turn, batches of 1,000, and the other queues of
// core/queue.
#include <benchmark/benchmark.h>
#include <concurrentqueue/concurrentqueue.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/lockfree/queue.hpp>
#include <boost/lockfree/spsc_queue.hpp>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string>
#include <thread>
#include <vector>

// Debian has xenium only for amd64; elsewhere its rows are left out.
#if __has_include(<xenium/vyukov_bounded_queue.hpp>)
#include <xenium/vyukov_bounded_queue.hpp>
#define MILLRACE_BENCH_XENIUM 1
#endif

#include "bench/table.hpp"
#include "core/queue/elastic_mpsc_queue.hpp"
#include "core/queue/locked_mpmc_queue.hpp"
#include "core/queue/mpmc_queue.hpp"
#include "core/queue/spsc_queue.hpp"

namespace millrace::bench {
namespace {

constexpr std::size_t kBatch = 64;
constexpr std::size_t kFixedCapacity = 1 << 16;  // and the bound to which the elastic one grows

/// Each of our queues with its default configuration, or with kFixedCapacity.
template <class Queue>
std::unique_ptr<Queue> make_queue() {
  if constexpr (requires { Queue::create(queue::QueueConfig{}); }) {
    return *Queue::create({512, 1024, kFixedCapacity, 2.0, 0.25});
  } else {
    return *Queue::create(kFixedCapacity);
  }
}

template <std::size_t Bytes>
struct Item {
  std::uint64_t value;
  std::array<std::uint64_t, Bytes / 8 - 1> rest;
};
template <>
struct Item<8> {
  std::uint64_t value;
};

template <class T>
struct Elastic {
  std::unique_ptr<queue::ElasticMpscQueue<T>> queue =
      *queue::ElasticMpscQueue<T>::create({512, 1024, kFixedCapacity, 2.0, 0.25});
  bool push(T item) { return queue->try_push(std::move(item)).has_value(); }
  bool pop(T& item) { return queue->try_pop(item); }
  std::size_t push_batch(T* items, std::size_t count) { return queue->push_batch({items, count}); }
  template <class Use>
  std::size_t pop_batch(std::size_t count, Use use) {
    return queue->pop_batch(count, use);
  }
};

template <class T>
struct Moodycamel {
  moodycamel::ConcurrentQueue<T> queue;
  std::array<T, kBatch> popped;
  bool push(T item) { return queue.enqueue(item); }
  bool pop(T& item) { return queue.try_dequeue(item); }
  std::size_t push_batch(T* items, std::size_t count) {
    return queue.enqueue_bulk(items, count) ? count : 0;
  }
  template <class Use>
  std::size_t pop_batch(std::size_t count, Use use) {
    const std::size_t got = queue.try_dequeue_bulk(popped.begin(), std::min(count, kBatch));
    for (std::size_t i = 0; i < got; ++i) use(popped[i]);
    return got;
  }
};

template <class T>
struct BoostLockfree {
  boost::lockfree::queue<T> queue{kFixedCapacity};
  bool push(T item) { return queue.bounded_push(item); }
  bool pop(T& item) { return queue.pop(item); }
};

#ifdef MILLRACE_BENCH_XENIUM
template <class T>
struct VyukovBounded {
  xenium::vyukov_bounded_queue<T> queue{kFixedCapacity};
  bool push(T item) { return queue.try_push(item); }
  bool pop(T& item) { return queue.try_pop(item); }
};
#endif

template <class Queue, class T>
void produce(Queue& queue, std::uint64_t count, bool batches) {
  if (!batches) {
    for (std::uint64_t i = 1; i <= count;) {
      T item{};
      item.value = i;
      if (queue.push(item)) {
        ++i;
      } else {
        std::this_thread::yield();
      }
    }
    return;
  }
  if constexpr (requires(T * items) { queue.push_batch(items, kBatch); }) {
    std::array<T, kBatch> items{};
    for (std::uint64_t i = 1; i <= count;) {
      const std::size_t size = std::min<std::uint64_t>(kBatch, count + 1 - i);
      for (std::size_t k = 0; k < size; ++k) items[k].value = i + k;
      for (std::size_t done = 0; done < size;) {
        const std::size_t pushed = queue.push_batch(items.data() + done, size - done);
        if (pushed == 0) std::this_thread::yield();
        done += pushed;
      }
      i += size;
    }
  }
}

template <class Queue, class T>
std::uint64_t consume(Queue& queue, std::uint64_t count, bool batches) {
  std::uint64_t sum = 0;
  std::uint64_t popped = 0;
  if (!batches) {
    T item{};
    while (popped < count) {
      if (queue.pop(item)) {
        sum += item.value;
        ++popped;
      } else {
        std::this_thread::yield();
      }
    }
    return sum;
  }
  if constexpr (requires { queue.pop_batch(kBatch, [](T&) {}); }) {
    while (popped < count) {
      const std::size_t got = queue.pop_batch(kBatch, [&sum](T& item) { sum += item.value; });
      if (got == 0) std::this_thread::yield();
      popped += got;
    }
  }
  return sum;
}

/// Million items per second through a new queue.
template <template <class> class Queue, class T>
double throughput(int producers, bool batches, std::uint64_t items) {
  const auto queue = std::make_unique<Queue<T>>();
  const std::uint64_t each = items / static_cast<std::uint64_t>(producers);
  std::atomic<int> ready{0};
  std::atomic<bool> start{false};
  std::vector<std::jthread> threads;
  for (int p = 0; p < producers; ++p) {
    threads.emplace_back([&] {
      ready.fetch_add(1);
      start.wait(false);
      produce<Queue<T>, T>(*queue, each, batches);
    });
  }
  while (ready.load() < producers) std::this_thread::yield();
  const auto begin = std::chrono::steady_clock::now();
  start.store(true);
  start.notify_all();
  const std::uint64_t total = each * static_cast<std::uint64_t>(producers);
  const std::uint64_t sum = consume<Queue<T>, T>(*queue, total, batches);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  if (sum != static_cast<std::uint64_t>(producers) * (each * (each + 1) / 2)) std::abort();
  return static_cast<double>(total) / took.count() / 1e6;
}

/// The thread's CPU time, so that time in which other threads run on its core is not counted.
double thread_us() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

/// The longest single push while a queue grows from 1 Ki to 1 Mi, in microseconds. The queue does
/// the same work in each run, but other load on the machine differs (up to 470 us were measured
/// around no push at all): the best of three runs counts for each push.
template <class T>
double worst_growing_push_us() {
  constexpr std::size_t kItems = 1 << 20;
  std::vector<float> best(kItems, 1e9F);
  for (int run = 0; run < 3; ++run) {
    const auto queue = *queue::ElasticMpscQueue<T>::create({1024, 1024, kItems, 2.0, 0.25});
    for (float& us : best) {
      const double begin = thread_us();
      if (!queue->try_push(T{})) std::abort();
      us = std::min(us, static_cast<float>(thread_us() - begin));
    }
  }
  return *std::ranges::max_element(best);
}

template <class T>
double peak_memory_ratio() {
  const auto queue = *queue::ElasticMpscQueue<T>::create({1024, 1024, 1 << 20, 2.0, 0.25});
  for (std::size_t i = 0; i < (1 << 20); ++i) {
    if (!queue->try_push(T{})) std::abort();
  }
  return static_cast<double>(queue->stats().memory_bytes) / static_cast<double>(sizeof(T) << 20);
}

/// Million items per second through `Queue`, pushed and popped by one thread, `depth` at a time.
template <class Queue>
double alternating(std::size_t depth) {
  constexpr std::uint64_t kItems = 1 << 21;
  const auto queue = make_queue<Queue>();
  std::uint64_t sum = 0;
  const double begin = thread_us();
  for (std::uint64_t i = 0; i < kItems; i += depth) {
    for (std::size_t k = 0; k < depth; ++k) {
      if (!queue->try_push(i + k)) std::abort();
    }
    for (std::size_t k = 0; k < depth; ++k) {
      std::uint64_t item = 0;
      if (!queue->try_pop(item)) std::abort();
      sum += item;
    }
  }
  const double took_us = thread_us() - begin;
  if (sum != kItems * (kItems - 1) / 2) std::abort();
  return static_cast<double>(kItems) / took_us;
}

/// Nanoseconds for each item of batches of 1,000, pushed and popped by one thread.
template <class Queue>
double batch_item_ns() {
  constexpr int kBatches = 2000;
  const auto queue = make_queue<Queue>();
  std::array<std::uint64_t, 1000> items{};
  std::uint64_t sum = 0;
  const double begin = thread_us();
  for (int i = 0; i < kBatches; ++i) {
    items.fill(1);
    if (queue->push_batch(items) != items.size()) std::abort();
    queue->pop_batch(items.size(), [&sum](std::uint64_t& item) { sum += item; });
  }
  const double took_us = thread_us() - begin;
  if (sum != kBatches * items.size()) std::abort();
  return took_us * 1e3 / static_cast<double>(kBatches * items.size());
}

/// Million items per second, one at a time, from `pairs` producers to `pairs` consumers.
template <class Queue>
double through_pairs(int pairs, const std::unique_ptr<Queue>& queue) {
  constexpr std::uint64_t kItems = 1'000'000;
  const std::uint64_t each = kItems / static_cast<std::uint64_t>(pairs);
  std::atomic<int> ready{0};
  std::atomic<bool> start{false};
  std::atomic<std::uint64_t> sum{0};
  std::vector<std::jthread> threads;
  const auto wait_for_start = [&] {
    ready.fetch_add(1);
    start.wait(false);
  };
  for (int p = 0; p < pairs; ++p) {
    threads.emplace_back([&] {
      wait_for_start();
      for (std::uint64_t i = 1; i <= each;) {
        if (queue->try_push(i)) {
          ++i;
        } else {
          std::this_thread::yield();
        }
      }
    });
    threads.emplace_back([&] {
      wait_for_start();
      std::uint64_t own_sum = 0;
      std::uint64_t item = 0;
      for (std::uint64_t popped = 0; popped < each;) {
        if (queue->try_pop(item)) {
          own_sum += item;
          ++popped;
        } else {
          std::this_thread::yield();
        }
      }
      sum += own_sum;
    });
  }
  while (ready.load() < 2 * pairs) std::this_thread::yield();
  const auto begin = std::chrono::steady_clock::now();
  start.store(true);
  start.notify_all();
  threads.clear();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  if (sum != static_cast<std::uint64_t>(pairs) * (each * (each + 1) / 2)) std::abort();
  return static_cast<double>(kItems) / took.count() / 1e6;
}

/// Adapters that give other libraries' queues the interface of ours.
struct MoodycamelPairs {
  moodycamel::ConcurrentQueue<std::uint64_t> queue;
  bool try_push(std::uint64_t item) { return queue.enqueue(item); }
  bool try_pop(std::uint64_t& item) { return queue.try_dequeue(item); }
};
#ifdef MILLRACE_BENCH_XENIUM
struct VyukovPairs {
  xenium::vyukov_bounded_queue<std::uint64_t> queue{kFixedCapacity};
  bool try_push(std::uint64_t item) { return queue.try_push(item); }
  bool try_pop(std::uint64_t& item) { return queue.try_pop(item); }
};
#endif
struct BoostSpsc {
  boost::lockfree::spsc_queue<std::uint64_t> queue{kFixedCapacity};
  bool try_push(std::uint64_t item) { return queue.push(item); }
  bool try_pop(std::uint64_t& item) { return queue.pop(item); }
};

using Mpsc = queue::ElasticMpscQueue<std::uint64_t>;
using Locked = queue::LockedMpmcQueue<std::uint64_t>;
using Spsc = queue::SpscQueue<std::uint64_t, queue::NoWait>;
using Mpmc = queue::MpmcQueue<std::uint64_t, queue::NoWait>;

/// A single thread, and pairs of threads. The predecessor is the Rust library from which these
/// queues were developed; its figures are the ones that it publishes.
void add_family_rows() {
  for (const std::size_t depth : {1, 2, 4, 8, 16, 64}) {
    add_comparison(
        {"MPSC, 8 bytes, one thread alternates, depth " + std::to_string(depth),
         "M/s",
         Better::higher,
         [depth] { return alternating<Mpsc>(depth); },
         {{"the predecessor's published figure", {}, 1.0, 46.0},
          {"the locked queue", [depth] { return alternating<Locked>(depth); }, 0.0, 0.0}}});
  }
  add_comparison({"MPSC, 8 bytes, batches of 1,000, one thread",
                  "ns an item",
                  Better::lower,
                  [] { return batch_item_ns<Mpsc>(); },
                  {{"the predecessor's published figure", {}, 0.5, 1.1}}});
  add_comparison({"locked MPMC, 8 bytes, batches of 1,000, one thread",
                  "ns an item",
                  Better::lower,
                  [] { return batch_item_ns<Locked>(); },
                  {{"the predecessor's published figure", {}, 1.0, 1.1}}});
  for (const int pairs : {1, 2}) {
    const std::string who = std::to_string(pairs) + (pairs == 1 ? " pair" : " pairs");
    add_comparison({"locked MPMC, 8 bytes, singles, " + who,
                    "M/s",
                    Better::higher,
                    [pairs] { return through_pairs(pairs, make_queue<Locked>()); },
                    {{"the predecessor's published figure, 2 pairs", {}, 1.0, 12.3}}});
    Comparison mpmc{"MPMC, 8 bytes, singles, " + who,
                    "M/s",
                    Better::higher,
                    [pairs] { return through_pairs(pairs, make_queue<Mpmc>()); },
                    {}};
    mpmc.rivals.push_back(
        {"moodycamel",
         [pairs] { return through_pairs(pairs, std::make_unique<MoodycamelPairs>()); }, 0.8, 0.0});
#ifdef MILLRACE_BENCH_XENIUM
    mpmc.rivals.push_back(
        {"vyukov_bounded",
         [pairs] { return through_pairs(pairs, std::make_unique<VyukovPairs>()); }, 0.8, 0.0});
#endif
    add_comparison(std::move(mpmc));
  }
  add_comparison({"SPSC, 8 bytes, singles",
                  "M/s",
                  Better::higher,
                  [] { return through_pairs(1, make_queue<Spsc>()); },
                  {{"boost::lockfree::spsc_queue",
                    [] { return through_pairs(1, std::make_unique<BoostSpsc>()); }, 1.0, 0.0}}});
}

template <class T>
void add_throughput_rows() {
  const std::string bytes = std::to_string(sizeof(T)) + " bytes, ";
  struct Goal {
    int producers;
    double singles;
  };
  const bool small = sizeof(T) == 8;
  for (const Goal goal : {Goal{1, 2.0}, Goal{2, small ? 1.6 : 2.0}, Goal{4, small ? 1.3 : 2.0}}) {
    const int n = goal.producers;
    const std::string who = std::to_string(n) + (n == 1 ? " producer" : " producers");
    constexpr std::uint64_t kItems = 2'000'000;
    Comparison singles{"MPSC, " + bytes + "singles, " + who,
                       "M/s",
                       Better::higher,
                       [n] { return throughput<Elastic, T>(n, false, kItems); },
                       {}};
    singles.rivals.push_back({"moodycamel",
                              [n] { return throughput<Moodycamel, T>(n, false, kItems); },
                              goal.singles, 0.0});
#ifdef MILLRACE_BENCH_XENIUM
    singles.rivals.push_back({"vyukov_bounded (fixed)",
                              [n] { return throughput<VyukovBounded, T>(n, false, kItems); },
                              small ? 0.8 : 0.0, 0.0});
#endif
    if (small) {
      singles.rivals.push_back({"boost::lockfree",
                                [n] { return throughput<BoostLockfree, T>(n, false, kItems / 4); },
                                1.0, 0.0});
    }
    add_comparison(std::move(singles));
    add_comparison(
        {"MPSC, " + bytes + "batches of 64, " + who,
         "M/s",
         Better::higher,
         [n] { return throughput<Elastic, T>(n, true, 4 * kItems); },
         {{"moodycamel bulk", [n] { return throughput<Moodycamel, T>(n, true, 4 * kItems); },
           small ? 1.2 : 1.1, 0.0}}});
  }
}

template <class T>
void add_growth_rows() {
  const std::string name = "MPSC growth 1 Ki -> 1 Mi, " + std::to_string(sizeof(T)) + " bytes, ";
  add_comparison({name + "worst push",
                  "us",
                  Better::lower,
                  [] { return worst_growing_push_us<T>(); },
                  {{"goal", {}, 1.0, 100.0}}});
  add_comparison({name + "memory by items",
                  "x",
                  Better::lower,
                  [] { return peak_memory_ratio<T>(); },
                  {{"goal", {}, 1.0, 2.2}}});
}

const bool kAdded = [] {
  add_family_rows();
  add_throughput_rows<Item<8>>();
  add_throughput_rows<Item<64>>();
  add_growth_rows<Item<8>>();
  add_growth_rows<Item<64>>();
  return true;
}();

template <template <class> class Queue, class T>
void mpsc(benchmark::State& state, bool batches) {
  for (auto _ : state) {
    constexpr std::uint64_t kItems = 1'000'000;
    const double rate = throughput<Queue, T>(static_cast<int>(state.range(0)), batches, kItems);
    state.SetIterationTime(static_cast<double>(kItems) / 1e6 / rate);
  }
  state.SetItemsProcessed(state.iterations() * 1'000'000);
}

template <template <class> class Queue, class T>
void register_mpsc(const std::string& name, bool batches) {
  const std::string full_name = "mpsc/" + name + "/" + std::to_string(sizeof(T)) + "_bytes/" +
                                (batches ? "batches_of_64" : "singles");
  benchmark::RegisterBenchmark(full_name.c_str(), mpsc<Queue, T>, batches)
      ->Arg(1)
      ->Arg(2)
      ->Arg(4)
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}

template <class T>
void register_all() {
  register_mpsc<Elastic, T>("elastic", false);
  register_mpsc<Moodycamel, T>("moodycamel", false);
#ifdef MILLRACE_BENCH_XENIUM
  register_mpsc<VyukovBounded, T>("vyukov_bounded", false);
#endif
  register_mpsc<BoostLockfree, T>("boost_lockfree", false);
  register_mpsc<Elastic, T>("elastic", true);
  register_mpsc<Moodycamel, T>("moodycamel", true);
}

const bool kRegistered = [] {
  register_all<Item<8>>();
  register_all<Item<64>>();
  return true;
}();

}  // namespace
}  // namespace millrace::bench
