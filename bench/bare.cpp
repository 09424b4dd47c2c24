#include "bench/bare.hpp"

#include <atomic>
#include <new>

#include "core/base/wait.hpp"
#include "core/shm/ring/layout.hpp"
#include "core/shm/ring/memory.hpp"

namespace millrace::bench {
namespace {

using base::never;
using base::Spin;
using Word = std::atomic<std::uint32_t>;

shm::Mapping shared_memory(std::size_t bytes) {
  const auto fd = shm::make_memory("millrace-bench", bytes);
  auto memory = shm::Mapping::map(fd.get(), bytes, shm::Access::read_write);
  expect(static_cast<bool>(memory), "no memory");
  return memory;
}

// The parent increments one word, the child the other; `await(word, value)` waits until the word
// has that value, `wake(word)` is called after a store.
template <class Await, class Wake>
RoundTrip round_trip(std::uint32_t rounds, Await await, Wake wake) {
  struct Words {
    alignas(shm::line_bytes) Word there{0};
    alignas(shm::line_bytes) Word back{0};
  };
  const auto memory = shared_memory(sizeof(Words));
  auto* words = new (memory.data()) Words;
  const auto say = [&](Word& word, std::uint32_t value) {
    word.store(value, std::memory_order_seq_cst);
    wake(word);
  };
  const pid_t child = in_child(1, [&] {
    for (std::uint32_t i = 1; i <= rounds; ++i) {
      await(words->there, i);
      say(words->back, i);
    }
    return true;
  });
  std::vector<double> ns;
  for (std::uint32_t i = 1; i <= rounds; ++i) {
    const auto begin = Steady::now();
    say(words->there, i);
    await(words->back, i);
    ns.push_back(seconds_since(begin) * 1e9);
  }
  expect_success(child);
  return percentiles(std::move(ns));
}

struct FrameRing {
  static constexpr std::uint64_t frames = 16'384;  // 1 MiB, the rings' default size
  alignas(shm::line_bytes) std::atomic<std::uint64_t> tail{0};
  alignas(shm::line_bytes) std::atomic<std::uint64_t> head{0};
  alignas(shm::line_bytes) Payload data[frames];
};

bool read_frames(FrameRing& ring, std::uint64_t count) {
  base::Parker unused;
  std::uint64_t wrong = 0, tail = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    if (i == tail) {
      ring.head.store(i, std::memory_order_release);
      const auto look = [&] { return (tail = ring.tail.load(std::memory_order_acquire)) != i; };
      Spin{}.wait(unused, look, never);
    }
    wrong += !carries(ring.data[i % FrameRing::frames].data(), i);
  }
  return wrong == 0;
}

}  // namespace

RoundTrip bare_lines() {
  const auto await = [](const Word& word, std::uint32_t value) {
    base::Parker unused;
    const auto has_come = [&] { return word.load(std::memory_order_acquire) == value; };
    Spin{.pauses_max = 1}.wait(unused, has_come, never);
  };
  return round_trip(100'000, await, [](const Word&) {});
}

RoundTrip bare_futex() {
  const auto await = [](const Word& word, std::uint32_t value) {
    while (word.load(std::memory_order_acquire) != value) {
      base::futex_wait(word, value - 1, never, base::Scope::shared);
    }
  };
  return round_trip(5'000, await,
                    [](const Word& word) { base::futex_wake(word, base::Scope::shared); });
}

double bare_frames_per_second(std::uint64_t count, std::uint64_t batch) {
  const auto memory = shared_memory(sizeof(FrameRing));
  auto& ring = *new (memory.data()) FrameRing;
  const pid_t child = in_child(1, [&] { return read_frames(ring, count); });
  const auto begin = Steady::now();
  base::Parker unused;
  std::uint64_t head = 0;
  for (std::uint64_t i = 0; i < count;) {
    if (i - head == FrameRing::frames) {
      const auto has_moved = [&] {
        return (head = ring.head.load(std::memory_order_acquire)) + FrameRing::frames != i;
      };
      Spin{}.wait(unused, has_moved, never);
    }
    ring.data[i % FrameRing::frames] = payloads[i % distinct];
    if (++i % batch == 0) ring.tail.store(i, std::memory_order_release);
  }
  ring.tail.store(count, std::memory_order_release);
  expect_success(child);
  return static_cast<double>(count) / seconds_since(begin) / 1e6;
}

}  // namespace millrace::bench
