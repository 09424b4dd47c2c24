#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/base/name_hash.hpp"
#include "core/latest/slot.hpp"
#include "core/latest/slot_index.hpp"

namespace millrace::latest {
namespace {

using base::hash_name;

/// Like an entry of the server's topic table: a name and a slot.
struct Entry {
  static inline std::atomic<int> alive{0};
  explicit Entry(std::string text) : name_(std::move(text)), hash_(hash_name(name_)) {
    alive.fetch_add(1);
    slot.store(name_);
  }
  ~Entry() { alive.fetch_sub(1); }
  [[nodiscard]] std::string_view name() const { return name_; }
  [[nodiscard]] std::uint64_t hash() const { return hash_; }
  Slot<std::string> slot;

 private:
  std::string name_;
  std::uint64_t hash_;
};
using Index = SlotIndex<Entry>;

constexpr int kStable = 300;
constexpr int kRounds = 30;
std::string stable(int number) {
  return "stable/" + std::to_string(number);
}
std::string passing(int number) {
  return "passing/" + std::to_string(number);
}

void look_up_stable(const Index& index, int number) {
  const std::string name = stable(number % kStable);
  const auto reader = index.reader();
  const Entry* entry = reader.find(hash_name(name), name);
  ASSERT_NE(entry, nullptr) << name;
  ASSERT_EQ(*entry->slot.load()->value, name);
}

void look_up_passing(const Index& index, int number) {
  const std::string name = passing(number % 2000);
  const auto reader = index.reader();
  if (const Entry* entry = reader.find(hash_name(name), name)) {
    ASSERT_EQ(*entry->slot.load()->value, name);
  }
}

void walk(const Index& index) {
  int stable_seen = 0;
  for (IndexCursor cursor; !cursor.done();) {
    index.reader().walk(cursor, [&](const Entry& entry) {
      ASSERT_EQ(*entry.slot.load()->value, entry.name());
      if (entry.name().starts_with("stable/")) ++stable_seen;
    });
  }
  ASSERT_EQ(stable_seen, kStable);
}

TEST(SlotIndexUnderFire, ReadersFindWhatStaysWhileTheWriterInsertsErasesAndGrows) {
  {
    Index index;
    for (int i = 0; i < kStable; ++i) index.insert(std::make_unique<Entry>(stable(i)));
    std::atomic<bool> over{false};
    std::vector<std::thread> readers;
    readers.emplace_back([&] {
      for (int i = 0; !over.load(); ++i) look_up_stable(index, i);
    });
    readers.emplace_back([&] {
      for (int i = 0; !over.load(); ++i) look_up_passing(index, i);
    });
    readers.emplace_back([&] {
      while (!over.load()) walk(index);
    });
    for (int round = 0; round < kRounds; ++round) {
      for (int i = 0; i < 2000; ++i) index.insert(std::make_unique<Entry>(passing(i)));
      for (int i = round % 3; i < 2000; ++i) {
        index.erase(*index.find(hash_name(passing(i)), passing(i)));
      }
    }
    over.store(true);
    for (std::thread& reader : readers) reader.join();
    index.reclaim(1'000'000);
    EXPECT_EQ(index.retired_count(), 0u);
    EXPECT_EQ(Entry::alive.load(), static_cast<int>(index.size()));
  }
  EXPECT_EQ(Entry::alive.load(), 0);
}

// A walk goes on behind the range of the segment that it has visited. The directory is so large here
// that a split's stores take long enough to be seen half done.
TEST(SlotIndexUnderFire, AWalkDoesNotFindASegmentBehindOneOfItsHalves) {
  using Directory = IndexDirectory<Entry>;
  using Segment = IndexSegment<Entry>;
  constexpr std::uint64_t kMiddle = std::uint64_t{1} << 63;
  for (int round = 0; round < 20; ++round) {
    std::unique_ptr<Directory> directory(Directory::make_for(0));
    for (int depth = 0; depth < 16; ++depth) directory = directory->doubled();
    Segment* const whole = &directory->at(0);
    const auto halves = whole->split();
    std::atomic<bool> looking{false};
    std::thread reader([&] {
      while (&directory->at(0) == whole) looking.store(true, std::memory_order_relaxed);
      EXPECT_NE(&directory->at(kMiddle), whole);
    });
    while (!looking.load(std::memory_order_relaxed)) std::this_thread::yield();
    directory->replace(0, halves.first.get(), halves.second.get());
    reader.join();
    Segment::destroy(whole);
  }
}

TEST(SlotIndexUnderFire, MoreReadersThanPlacesTakeTurns) {
  Index index;
  for (int i = 0; i < kStable; ++i) index.insert(std::make_unique<Entry>(stable(i)));
  std::vector<std::thread> readers;
  for (int t = 0; t < 80; ++t) {
    readers.emplace_back([&index, t] {
      for (int i = 0; i < 50; ++i) look_up_stable(index, t + i);
    });
  }
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace millrace::latest
