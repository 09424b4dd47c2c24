// The disruptor in one process: 8-byte events between its threads, with the values summed and
// checked.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "core/disruptor/disruptor.hpp"
#include "table.hpp"

namespace millrace::bench {
namespace {

using disruptor::Disruptor;
using disruptor::Spin;
using Line = Disruptor<std::int64_t, Spin>;

void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "disruptor_bench: %s\n", what);
  std::abort();
}

// Publishes 0..count-1 in batches. Returns the seconds from the start of the threads to their end.
double publish_all(Line& line, std::int64_t count, std::int64_t batch) {
  line.start();
  auto& producer = line.producer();
  const auto begin = std::chrono::steady_clock::now();
  const auto number = [](std::int64_t& event, std::int64_t sequence) { event = sequence; };
  for (std::int64_t sent = 0; sent < count; sent += batch) {
    producer.publish_each(std::min(batch, count - sent), number).value();
  }
  line.drain().value();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

auto summing(std::int64_t& sum) {
  return [&sum](std::span<std::int64_t> run, std::int64_t, bool) {
    std::int64_t part = 0;
    for (const std::int64_t value : run) part += value;
    sum += part;
  };
}

// Millions of events per second to `siblings` consumers that each see all.
double to_siblings(std::int64_t count, std::int64_t batch, std::size_t capacity, int siblings) {
  Line line({.capacity = capacity});
  alignas(128) std::int64_t sums[8 * 16] = {};
  for (int i = 0; i < siblings; ++i) line.add("sum", summing(sums[i * 16]));
  const double seconds = publish_all(line, count, batch);
  for (int i = 0; i < siblings; ++i) {
    expect(sums[i * 16] == count * (count - 1) / 2, "a value was lost");
  }
  return static_cast<double>(count) / seconds / 1e6;
}

double pipeline_of_three(std::int64_t count) {
  Line line({.capacity = 65'536});
  std::int64_t sum = 0;
  auto add_one = [](std::span<std::int64_t> run, std::int64_t, bool) {
    for (std::int64_t& value : run) ++value;
  };
  auto first = line.add("first", add_one);
  auto second = line.add("second", add_one, {first});
  line.add("third", summing(sum), {second});
  const double seconds = publish_all(line, count, 1);
  expect(sum == count * (count - 1) / 2 + 2 * count, "a stage was skipped");
  return static_cast<double>(count) / seconds / 1e6;
}

// The predecessor's own benchmark (see queue_bench.cpp): ten thousand batches of two thousand.
double ten_thousand_batches_ms(std::size_t capacity) {
  constexpr std::int64_t count = 10'000 * 2'000;
  return static_cast<double>(count) / to_siblings(count, 2'000, capacity, 1) / 1e3;
}

const bool lines = [] {
  add_comparison({"disruptor, 1 -> 1, 8 bytes, singles",
                  "M/s",
                  Better::higher,
                  [] { return to_siblings(5'000'000, 1, 65'536, 1); },
                  {{"LMAX (Java), measured elsewhere", {}, 60.0 / 68.0, 68.0},
                   {"disruptor-rs, measured elsewhere", {}, 60.0 / 40.0, 40.0}}});
  add_comparison({"disruptor, 1 -> 1, 8 bytes, batches of 64",
                  "M/s",
                  Better::higher,
                  [] { return to_siblings(100'000'000, 64, 16'384, 1); },
                  {{"LMAX (Java), measured elsewhere", {}, 1200.0 / 191.0, 191.0},
                   {"disruptor-rs (batch 16), measured elsewhere", {}, 1200.0 / 1244.0, 1244.0}}});
  add_comparison({"disruptor, 10,000 batches of 2,000, summed",
                  "ms",
                  Better::lower,
                  [] { return ten_thousand_batches_ms(16'384); },
                  {{"the predecessor's published figure", {}, 90.0 / 20.0, 90.0}}});
  // Each batch is larger than the ring and is published in parts.
  add_comparison({"disruptor, the same into the default ring of 1,024",
                  "ms",
                  Better::lower,
                  [] { return ten_thousand_batches_ms(1'024); },
                  {{"the predecessor's published figure", {}, 90.0 / 20.0, 90.0}}});
  add_comparison({"disruptor, 1 -> 3 on one stage, singles",
                  "M/s",
                  Better::higher,
                  [] { return to_siblings(5'000'000, 1, 65'536, 3); },
                  {{"LMAX (Java), measured elsewhere", {}, 32.0 / 33.0, 33.0}}});
  return add_comparison({"disruptor, pipeline of 3 stages, singles",
                         "M/s",
                         Better::higher,
                         [] { return pipeline_of_three(5'000'000); },
                         {{"the goal", {}, 1.0, 30.0}}});
}();

}  // namespace
}  // namespace millrace::bench
