#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "core/latest/slot.hpp"

namespace millrace::latest {
namespace {

constexpr int kReaders = 3;
constexpr int kLoadsEach = 20'000;

/// The writer does not pause until the readers have made all their loads: if a reader starved, the
/// test would not end.
template <typename AnySlot, typename Make, typename Check>
void race(AnySlot& slot, Make make, Check check, int loads_each = kLoadsEach) {
  std::atomic<int> reading{kReaders};
  std::vector<std::thread> readers;
  for (int i = 0; i < kReaders; ++i) {
    readers.emplace_back([&] {
      Version last = 0;
      bool went_back = false;
      for (int loads = 0; loads < loads_each;) {
        const auto loaded = slot.load();
        if (!loaded) continue;
        ++loads;
        went_back |= loaded->version < last;
        last = slot.version();
        went_back |= last < loaded->version;
        check(loaded->value, loaded->version);
      }
      EXPECT_FALSE(went_back) << "a load or version() after a newer one";
      reading.fetch_sub(1);
    });
  }
  Version stored = 0;
  while (reading.load() > 0) stored = slot.store(make(stored + 1));
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(slot.version(), stored);
}

TEST(SlotUnderFire, ValuesAreNeverTornAndCarryTheirOwnVersion) {
  using Words = std::array<std::uint64_t, 8>;
  Slot<Words> slot;
  race(
      slot,
      [](Version version) {
        Words words;
        words.fill(version);
        return words;
      },
      [](const Words& words, Version version) {
        for (const std::uint64_t word : words) ASSERT_EQ(word, version);
      });
}

// The smallest values: the writer comes round to the cell that a reader has just chosen more often
// than with any other.
TEST(SlotUnderFire, LoadsNeverGoBack) {
  Slot<Version> slot;
  race(
      slot, [](Version version) { return version; },
      [](Version value, Version version) { ASSERT_EQ(value, version); }, 500'000);
}

TEST(SlotUnderFire, LargeValuesAreNeverTorn) {
  using Words = std::array<std::uint32_t, 1001>;
  Slot<Words> slot;
  race(
      slot,
      [](Version version) {
        Words words;
        words.fill(static_cast<std::uint32_t>(version));
        return words;
      },
      [](const Words& words, Version version) {
        for (const std::uint32_t word : words) ASSERT_EQ(word, static_cast<std::uint32_t>(version));
      });
}

TEST(SlotUnderFire, SharedValuesAreNeverFreedUnderTheReader) {
  Slot<std::string> slot;
  race(
      slot, [](Version version) { return std::string(40, 'x') + std::to_string(version); },
      [](const SharedValue<std::string>& value, Version version) {
        ASSERT_EQ(value->substr(40), std::to_string(version));
      });
}

struct Tracked : RefCounted<Tracked> {
  static inline std::atomic<int> alive{0};
  explicit Tracked(Version number) : number(number) { alive.fetch_add(1); }
  ~Tracked() {
    number = 0;
    alive.fetch_sub(1);
  }
  Version number;
};

TEST(SlotUnderFire, HandlesAreCountedToTheLastOne) {
  {
    Slot<Ref<Tracked>> slot;
    race(
        slot, [](Version version) { return make_ref<Tracked>(version); },
        [](const Ref<Tracked>& value, Version version) { ASSERT_EQ(value->number, version); });
    EXPECT_EQ(Tracked::alive.load(), 1);
    EXPECT_EQ(slot.newest()->ref_count(), 1u);
  }
  EXPECT_EQ(Tracked::alive.load(), 0);
}

// Stores and loads are the fastest here, so a reader meets a store half done most often.
TEST(SlotUnderFire, TheSameObjectMayComeAndGo) {
  const std::array<Ref<Tracked>, 2> objects{make_ref<Tracked>(0), make_ref<Tracked>(1)};
  {
    Slot<Ref<Tracked>> slot;
    race(
        slot, [&](Version version) { return objects[version % 2]; },
        [](const Ref<Tracked>& value, Version version) { ASSERT_EQ(value->number, version % 2); },
        300'000);
  }
  EXPECT_EQ(objects[0]->ref_count(), 1u);
  EXPECT_EQ(objects[1]->ref_count(), 1u);
}

TEST(SlotUnderFire, MayBeEmptiedWhileReadersLook) {
  {
    Slot<Ref<Tracked>> slot;
    race(
        slot,
        [](Version version) {
          return version % 3 == 0 ? Ref<Tracked>() : make_ref<Tracked>(version);
        },
        [](const Ref<Tracked>& value, Version version) { ASSERT_EQ(value->number, version); });
  }
  EXPECT_EQ(Tracked::alive.load(), 0);
}

}  // namespace
}  // namespace millrace::latest
