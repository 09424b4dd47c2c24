// Rings in shared memory, between two real processes: the parent writes, forked children read.
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/disruptor/wait.hpp"
#include "core/shm/ring_reader.hpp"
#include "core/shm/ring_writer.hpp"
#include "table.hpp"

namespace millrace::bench {
namespace {

using disruptor::Block;
using disruptor::never;
using disruptor::Spin;
using disruptor::Yield;
using shm::RingReader;
using shm::RingWriter;
using Steady = std::chrono::steady_clock;

constexpr std::string_view topic = "md/fx/eur-usd/bp";  // 16 bytes
constexpr std::size_t payload_bytes = 64;
using Payload = std::array<std::byte, payload_bytes>;

// Payloads that differ, each with its number in front: message i carries number i % distinct.
constexpr std::uint64_t distinct = 256;
const std::vector<Payload> payloads = [] {
  std::vector<Payload> all(distinct);
  for (std::uint64_t i = 0; i < distinct; ++i) std::memcpy(all[i].data(), &i, sizeof i);
  return all;
}();

void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "shm_bench: %s\n", what);
  std::abort();
}

double seconds_since(Steady::time_point begin) {
  return std::chrono::duration<double>(Steady::now() - begin).count();
}

// A core for each while there are enough: the scheduler may otherwise keep a forked child on its
// parent's core for the whole run.
void stay_on_core(int which) {
  const long cores = ::sysconf(_SC_NPROCESSORS_ONLN);
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(which % cores), &set);
  ::sched_setaffinity(0, sizeof set, &set);
}

// Runs `body` in a child; the child's exit status says whether its own checks held.
template <class Body>
pid_t in_child(int core, Body&& body) {
  stay_on_core(0);
  const pid_t pid = ::fork();
  expect(pid >= 0, "fork");
  if (pid == 0) {
    stay_on_core(core);
    ::_exit(body() ? 0 : 1);
  }
  return pid;
}

void expect_success(pid_t pid) {
  int status = 0;
  expect(::waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0,
         "a reader saw a gap or a wrong value");
}

// Reads `count` frames and checks that none is missing and each carries its own number.
template <class Wait>
bool read_all(RingReader& reader, std::uint64_t count, const Wait& wait) {
  RingReader::Frame frame;
  std::uint64_t seen = 0, wrong = 0;
  while (seen < count) {
    int in_hand = 0;
    while (reader.next(frame)) {
      std::uint64_t value;
      std::memcpy(&value, frame.payload.data(), sizeof value);
      wrong += value != seen % distinct;
      ++seen;
      if (++in_hand == 256) {  // let the writer have what is read, now and then
        reader.release();
        in_hand = 0;
      }
    }
    reader.release();
    if (seen < count) reader.wait(wait, never);
  }
  return reader.missed() == 0 && wrong == 0;
}

// Millions of frames per second, lossless, from the first append until the last reader is done.
template <class Wait>
double frames_per_second(std::uint64_t count, std::uint64_t batch, int readers, const Wait& wait) {
  auto writer = RingWriter::make({.lossless = true, .overflow_bytes_max = 1, .lease_ns = 0});
  expect(writer != nullptr, "no ring");
  std::vector<pid_t> children;
  for (int i = 0; i < readers; ++i) {
    const auto start = writer->add_reader(static_cast<std::uint64_t>(i + 1), false, 0);
    children.push_back(in_child(i + 1, [&] {
      RingReader reader;
      if (reader.open(writer->fd(), start.seat->fd(), start.position, start.sequence)) return false;
      return read_all(reader, count, wait);
    }));
  }
  const auto begin = Steady::now();
  disruptor::Parker unused;
  const auto has_room = [&] { return writer->has_room(topic.size(), payload_bytes); };
  for (std::uint64_t i = 0; i < count;) {
    // A publisher that can wait does: lossless without overflow.
    if (!has_room()) wait.wait(unused, has_room, never);
    writer->append(topic, payloads[i % distinct], 0, 0);
    if (++i % batch == 0) writer->release(0);
  }
  writer->release(0);
  for (const pid_t child : children) expect_success(child);
  return static_cast<double>(count) / seconds_since(begin) / 1e6;
}

struct RoundTrip {
  double p50_us;
  double p99_us;
};

enum class Partner { awake, asleep };

// The parent asks over one ring, the child answers over another. With a partner asleep the clock
// starts once it sleeps; by the time it has woken up, the parent does, too.
template <class Wait>
RoundTrip round_trip(Wait wait, int rounds, Partner partner) {
  auto there = RingWriter::make({.ring_id = 1});
  auto back = RingWriter::make({.ring_id = 2});
  expect(there && back, "no ring");
  const auto asked = there->add_reader(1, false, 0);
  const auto answered = back->add_reader(2, false, 0);
  const pid_t child = in_child(1, [&] {
    RingReader reader;
    if (reader.open(there->fd(), asked.seat->fd(), 0, 1)) return false;
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
  expect(!reader.open(back->fd(), answered.seat->fd(), 0, 1), "no reader");
  const auto page = shm::Mapping::map(asked.seat->fd(), shm::page_bytes, shm::Access::read_only);
  const auto is_asleep = [&] { return page.as<shm::PositionPage>()->sleep_word.load() % 2 == 1; };
  RingReader::Frame frame;
  std::vector<double> us;
  for (int i = 0; i < rounds; ++i) {
    while (partner == Partner::asleep && !is_asleep()) ::sched_yield();
    const auto begin = Steady::now();
    there->append(topic, payloads[0], 0, 0);
    there->release(0);
    while (!reader.next(frame)) reader.wait(wait, never);
    us.push_back(seconds_since(begin) * 1e6);
    reader.release();
  }
  expect_success(child);
  const auto wakes = there->stats().wakes;
  expect(wakes == (partner == Partner::asleep ? static_cast<std::uint64_t>(rounds) : 0),
         "a wake-up that was not needed, or one too few");
  std::sort(us.begin(), us.end());
  return {us[us.size() / 2], us[us.size() * 99 / 100]};
}

// What one append and its share of a release cost the processor, nobody asleep.
double append_ns(std::uint64_t batch) {
  auto writer = RingWriter::make({});
  expect(writer != nullptr, "no ring");
  const auto seat = writer->add_reader(1, false, 0);
  constexpr std::uint64_t count = 4'000'000;
  const auto begin = Steady::now();
  for (std::uint64_t i = 0; i < count;) {
    writer->append(topic, payloads[i % distinct], 0, i);
    if (++i % batch == 0) writer->release(i);
  }
  return seconds_since(begin) * 1e9 / count;
}

void add_rates() {
  struct Line {
    const char* work;
    std::uint64_t batch;
    int readers;
    double goal;
  };
  for (const Line& line : {Line{"shm, 2 processes, one by one", 1, 1, 35},
                           Line{"shm, 2 processes, batches of 16", 16, 1, 80},
                           Line{"shm, 1 -> 3 processes, one by one", 1, 3, 25},
                           Line{"shm, 1 -> 3 processes, batches of 16", 16, 3, 50}}) {
    add_comparison(
        {line.work,
         "M/s",
         Better::kHigher,
         [line] {
           // Four processes on two cores do best to pass them on early.
           const Yield passing{.looks_before_yield = 2};
           return line.readers == 1
                      ? frames_per_second(4'000'000, line.batch, line.readers, Spin{})
                      : frames_per_second(4'000'000, line.batch, line.readers, passing);
         },
         {{"the goal", {}, 1.0, line.goal}, {"Aeron IPC, measured elsewhere", {}, 1.0, 8.4}}});
  }
}

const bool lines = [] {
  add_rates();
  const auto add_trip = [](const char* work, double goal, auto measure) {
    add_comparison({work, "us", Better::kLower, measure, {{"the goal", {}, 1.0, goal}}});
  };
  const auto spinning = [] { return round_trip(Spin{.pauses_max = 1}, 100'000, Partner::awake); };
  add_trip("shm, round trip, spinning, p50", 0.45, [=] { return spinning().p50_us; });
  add_trip("shm, round trip, spinning, p99", 0.8, [=] { return spinning().p99_us; });
  add_trip("shm, round trip, both asleep (futex), p50", 12.0,
           [] { return round_trip(Block{}, 5'000, Partner::asleep).p50_us; });
  return add_comparison({"shm, cost per message for the writer, batches of 16",
                         "ns",
                         Better::kLower,
                         [] { return append_ns(16); },
                         {{"the goal", {}, 1.0, 40.0}}});
}();

}  // namespace
}  // namespace millrace::bench
