// Rings in shared memory, between two real processes: the parent writes, forked children read.
#include <sched.h>

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/bare.hpp"
#include "bench/processes.hpp"
#include "bench/table.hpp"
#include "core/base/wait.hpp"
#include "core/shm/ring/ring_reader.hpp"
#include "core/shm/ring/ring_writer.hpp"

namespace millrace::bench {
namespace {

using base::Block;
using base::never;
using base::Spin;
using base::Yield;
using shm::RingReader;
using shm::RingWriter;

constexpr std::string_view topic = "md/fx/eur-usd/bp";  // 16 bytes

// Reads `count` frames and checks that none is missing and each has its number.
template <class Wait>
bool read_all(RingReader& reader, std::uint64_t count, const Wait& wait) {
  RingReader::Frame frame;
  std::uint64_t seen = 0, wrong = 0;
  while (seen < count) {
    int in_hand = 0;
    while (reader.next(frame)) {
      wrong += !carries(frame.payload.data(), seen);
      ++seen;
      if (++in_hand == 256) {  // release in batches
        reader.release();
        in_hand = 0;
      }
    }
    reader.release();
    if (seen < count) reader.wait(wait, never);
  }
  return reader.missed() == 0 && wrong == 0;
}

// Millions of frames per second in a lossless ring, from the first append until all readers are
// done.
template <class Wait>
double frames_per_second(std::uint64_t count, std::uint64_t batch, int readers, const Wait& wait) {
  auto writer = RingWriter::make({.lossless = true, .overflow_bytes_max = 1, .lease_ns = 0});
  expect(writer != nullptr, "no ring");
  std::vector<pid_t> children;
  for (int i = 0; i < readers; ++i) {
    const auto start = writer->add_reader(static_cast<std::uint64_t>(i + 1), false, 0);
    children.push_back(in_child(i + 1, [&] {
      RingReader reader;
      if (reader.open(writer->fd(), start.consumer_page->fd(), start.position, start.sequence))
        return false;
      return read_all(reader, count, wait);
    }));
  }
  const auto begin = Steady::now();
  base::Parker unused;
  const auto has_room = [&] { return writer->has_room(topic.size(), payload_bytes); };
  for (std::uint64_t i = 0; i < count;) {
    // The writer waits for room, so the ring's overflow is not used.
    if (!has_room()) wait.wait(unused, has_room, never);
    writer->append(topic, payloads[i % distinct], 0, 0);
    if (++i % batch == 0) writer->release(0);
  }
  writer->release(0);
  for (const pid_t child : children) expect_success(child);
  return static_cast<double>(count) / seconds_since(begin) / 1e6;
}

enum class Partner { awake, asleep };

// The parent sends over one ring, the child answers over another. With Partner::asleep, a round is
// timed from a moment at which the child sleeps; the parent sleeps too until the child answers.
template <class Wait>
RoundTrip round_trip(Wait wait, int rounds, Partner partner) {
  auto there = RingWriter::make({.ring_id = 1});
  auto back = RingWriter::make({.ring_id = 2});
  expect(there && back, "no ring");
  const auto asked = there->add_reader(1, false, 0);
  const auto answered = back->add_reader(2, false, 0);
  const pid_t child = in_child(1, [&] {
    RingReader reader;
    if (reader.open(there->fd(), asked.consumer_page->fd(), 0, 1)) return false;
    RingReader::Frame frame;
    for (int i = 0; i < rounds; ++i) {
      while (!reader.next(frame)) reader.wait(wait, never);
      back->append(topic, frame.payload, 0, 0);
      back->release(0);
      reader.release();
    }
    return reader.missed() == 0;
  });
  RingReader reader;
  expect(!reader.open(back->fd(), answered.consumer_page->fd(), 0, 1), "no reader");
  const auto page =
      shm::Mapping::map(asked.consumer_page->fd(), shm::page_bytes, shm::Access::read_only);
  const auto is_asleep = [&] { return page.as<shm::PositionPage>()->sleep_word.load() % 2 == 1; };
  RingReader::Frame frame;
  std::vector<double> ns;
  for (int i = 0; i < rounds; ++i) {
    while (partner == Partner::asleep && !is_asleep()) ::sched_yield();
    const auto begin = Steady::now();
    there->append(topic, payloads[0], 0, 0);
    there->release(0);
    while (!reader.next(frame)) reader.wait(wait, never);
    ns.push_back(seconds_since(begin) * 1e9);
    reader.release();
  }
  expect_success(child);
  const auto wakes = there->stats().wakes;
  expect(wakes == (partner == Partner::asleep ? static_cast<std::uint64_t>(rounds) : 0),
         "a wake-up that was not needed, or one too few");
  return percentiles(std::move(ns));
}

// The writer's nanoseconds for one append and its share of a release, with no reader asleep.
double append_ns(std::uint64_t batch) {
  auto writer = RingWriter::make({});
  expect(writer != nullptr, "no ring");
  const auto consumer_page = writer->add_reader(1, false, 0);
  constexpr std::uint64_t count = 4'000'000;
  const auto begin = Steady::now();
  for (std::uint64_t i = 0; i < count;) {
    writer->append(topic, payloads[i % distinct], 0, i);
    if (++i % batch == 0) writer->release(i);
  }
  return seconds_since(begin) * 1e9 / count;
}

// Microseconds to attach a reader to a ring of 64 MiB, without the exchange at the control socket.
double attach_us() {
  auto writer = RingWriter::make({.data_bytes = std::size_t{64} << 20});
  expect(writer != nullptr, "no ring");
  for (std::uint64_t i = 0; i < 800'000; ++i) writer->append(topic, payloads[i % distinct], 0, i);
  writer->release(0);
  const auto start = writer->add_reader(1, false, 0);
  constexpr int rounds = 20;
  const auto begin = Steady::now();
  for (int i = 0; i < rounds; ++i) {
    RingReader reader;
    expect(!reader.open(writer->fd(), start.consumer_page->fd(), start.position, start.sequence),
           "no reader");
  }
  return seconds_since(begin) * 1e6 / rounds;
}

struct Rate {
  const char* work;
  std::uint64_t batch;
  int readers;
  double goal;
  double of_bare;  // the goal as a share of bare 64-byte frames, from a machine that measured both
};

void add_rate(const Rate& rate) {
  constexpr std::uint64_t count = 8'000'000;
  const auto ours = [rate] {
    if (rate.readers == 1) return frames_per_second(count, rate.batch, 1, Spin{});
    // Four processes on two cores are fastest if they yield early.
    return frames_per_second(count, rate.batch, rate.readers, Yield{.looks_before_yield = 2});
  };
  std::vector<Rival> rivals{{"the goal", {}, 1.0, rate.goal},
                            {"Aeron IPC, measured elsewhere", {}, 1.0, 8.4}};
  if (rate.readers == 1) {
    const auto bare = [rate] { return bare_frames_per_second(count, rate.batch); };
    rivals.push_back({"a ring of bare 64-byte frames, now", bare, rate.of_bare});
  }
  add_comparison({rate.work, "M/s", Better::higher, ours, std::move(rivals)});
}

const bool lines = [] {
  add_rate({"shm, 2 processes, one by one", 1, 1, 35, 0.27});
  add_rate({"shm, 2 processes, batches of 16", 16, 1, 80, 0.36});
  add_rate({"shm, 1 -> 3 processes, one by one", 1, 3, 25, 0});
  add_rate({"shm, 1 -> 3 processes, batches of 16", 16, 3, 50, 0});
  const auto spinning = [] { return round_trip(Spin{.pauses_max = 1}, 100'000, Partner::awake); };
  add_comparison({"shm, round trip, spinning, p50",
                  "ns",
                  Better::lower,
                  [=] { return spinning().p50_ns; },
                  {{"the goal", {}, 1.0, 450.0},
                   {"a bare line each way, now", [] { return bare_lines().p50_ns; }, 0.47}}});
  add_comparison({"shm, round trip, spinning, p99",
                  "ns",
                  Better::lower,
                  [=] { return spinning().p99_ns; },
                  {{"the goal", {}, 1.0, 800.0}}});
  add_comparison(
      {"shm, round trip, both asleep (futex), p50",
       "us",
       Better::lower,
       [] { return round_trip(Block{}, 5'000, Partner::asleep).p50_ns / 1e3; },
       {{"the goal", {}, 1.0, 12.0},
        {"a bare futex each way, now", [] { return bare_futex().p50_ns / 1e3; }, 0.82}}});
  add_comparison({"shm, attach to a ring of 64 MiB",
                  "us",
                  Better::lower,
                  [] { return attach_us(); },
                  {{"the goal", {}, 1.0, 200.0}}});
  return add_comparison({"shm, cost per message for the writer, batches of 16",
                         "ns",
                         Better::lower,
                         [] { return append_ns(16); },
                         {{"the goal", {}, 1.0, 40.0}}});
}();

}  // namespace
}  // namespace millrace::bench
