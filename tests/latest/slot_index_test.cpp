#include "core/latest/slot_index.hpp"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <new>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "core/base/name_hash.hpp"
#include "tests/latest/allocation_count.hpp"

namespace millrace::latest {
namespace {

using base::hash_name;
using base::same_name;

struct Named {
  static inline int alive = 0;
  explicit Named(std::string name) : Named(name, hash_name(name)) {}
  Named(std::string name, std::uint64_t hash) : name_(std::move(name)), hash_(hash) { ++alive; }
  ~Named() { --alive; }
  [[nodiscard]] std::string_view name() const { return name_; }
  [[nodiscard]] std::uint64_t hash() const { return hash_; }

 private:
  std::string name_;
  std::uint64_t hash_;
};
using Index = SlotIndex<Named>;

std::string topic(int number) {
  return "plant/line/" + std::to_string(number) + "/temperature";
}
Named* find(const Index& index, const std::string& name) {
  return index.find(hash_name(name), name);
}
Named* add(Index& index, const std::string& name) {
  return index.insert(std::make_unique<Named>(name)).first;
}

TEST(SlotIndex, FindsWhatWasInsertedAndNothingElse) {
  Index index;
  Named* entry = add(index, "a/b");
  EXPECT_EQ(find(index, "a/b"), entry);
  EXPECT_EQ(find(index, "a/c"), nullptr);
  EXPECT_EQ(find(index, ""), nullptr);
  EXPECT_EQ(index.size(), 1u);
}

TEST(SlotIndex, KeepsTheFirstOfTwoEntriesOfOneName) {
  Index index;
  Named* entry = add(index, "a/b");
  const auto [present, inserted] = index.insert(std::make_unique<Named>("a/b"));
  EXPECT_FALSE(inserted);
  EXPECT_EQ(present, entry);
  EXPECT_EQ(index.size(), 1u);
}

TEST(SlotIndex, DistinguishesNamesWithEqualHashes) {
  Index index;
  std::vector<Named*> entries;
  for (int i = 0; i < 3000; ++i) {
    entries.push_back(index.insert(std::make_unique<Named>(topic(i), 42)).first);
  }
  for (int i = 0; i < 3000; ++i) EXPECT_EQ(index.find(42, topic(i)), entries[i]);
  EXPECT_EQ(index.find(42, "other"), nullptr);
  EXPECT_LT(index.memory_bytes(), 1u << 20);  // colliding names do not make the directory grow
}

TEST(SlotIndex, GrowsFromNothingAndFindsAll) {
  Index index;
  constexpr int kCount = 100'000;
  std::vector<Named*> entries;
  for (int i = 0; i < kCount; ++i) entries.push_back(add(index, topic(i)));
  EXPECT_EQ(index.size(), static_cast<std::size_t>(kCount));
  for (int i = 0; i < kCount; ++i) ASSERT_EQ(find(index, topic(i)), entries[i]) << i;
  EXPECT_EQ(find(index, topic(kCount)), nullptr);
  EXPECT_LT(index.memory_bytes(), kCount * 48u);
}

TEST(SlotIndex, FindsAllWhateverTheQualityOfTheHash) {
  for (const int shift : {0, 16, 32, 48}) {
    Index index;
    for (std::uint64_t i = 0; i < 5000; ++i) {
      index.insert(std::make_unique<Named>(topic(static_cast<int>(i)), i << shift));
    }
    for (std::uint64_t i = 0; i < 5000; ++i) {
      ASSERT_NE(index.find(i << shift, topic(static_cast<int>(i))), nullptr) << i << " " << shift;
    }
  }
}

TEST(SlotIndex, DoesNotSplitUpToTheExpectedNumber) {
  Index index(20'000);
  const std::size_t before = index.memory_bytes();
  for (int i = 0; i < 20'000; ++i) add(index, topic(i));
  EXPECT_EQ(index.memory_bytes(), before);
}

TEST(SlotIndex, DeletesErasedEntriesAndItsOwn) {
  {
    Index index;
    Named* gone = add(index, "gone");
    add(index, "stays");
    index.erase(*gone);
    index.reclaim(100);
    EXPECT_EQ(Named::alive, 1);
    EXPECT_EQ(find(index, "gone"), nullptr);
    EXPECT_NE(find(index, "stays"), nullptr);
  }
  EXPECT_EQ(Named::alive, 0);
}

TEST(SlotIndex, KeepsAnErasedEntryWhileAReaderIsInside) {
  Index index;
  add(index, "a/b");
  {
    const auto reader = index.reader();
    Named* seen = reader.find(hash_name("a/b"), "a/b");
    index.erase(*seen);
    index.reclaim(100);
    EXPECT_EQ(reader.find(hash_name("a/b"), "a/b"), nullptr);
    EXPECT_EQ(seen->name(), "a/b");
    EXPECT_EQ(index.retired_count(), 1u);
    {
      const auto later = index.reader();  // does not keep entries that were erased before it
    }
    index.reclaim(100);
    EXPECT_EQ(Named::alive, 1);
  }
  index.reclaim(100);
  EXPECT_EQ(Named::alive, 0);
  EXPECT_EQ(index.retired_count(), 0u);
}

TEST(SlotIndex, AgreesWithAMapThroughRandomInsertionsAndErasures) {
  Index index;
  std::map<std::string, Named*> model;
  std::mt19937 random(20240607);
  for (int step = 0; step < 200'000; ++step) {
    const std::string name = topic(static_cast<int>(random() % 5000));
    const auto known = model.find(name);
    if (random() % 2 == 0) {
      const auto [entry, inserted] = index.insert(std::make_unique<Named>(name));
      ASSERT_EQ(inserted, known == model.end());
      model.emplace(name, entry);
    } else if (known != model.end()) {
      index.erase(*known->second);
      model.erase(known);
    }
    ASSERT_EQ(index.size(), model.size());
  }
  for (int i = 0; i < 5000; ++i) {
    const auto known = model.find(topic(i));
    ASSERT_EQ(find(index, topic(i)), known == model.end() ? nullptr : known->second);
  }
  EXPECT_LT(index.memory_bytes(), 5000u * 64);  // tombstones do not accumulate
}

TEST(SlotIndex, HoldsWhatItHeldIfMemoryRunsOutDuringAChange) {
  constexpr int kCount = 3000;
  int failed = 0;
  {
    Index index;
    for (int i = 0; i < kCount; ++i) {
      auto entry = std::make_unique<Named>(topic(i));
      try {
        const OutOfMemory soon(i % 4);  // a split allocates several times
        index.insert(std::move(entry));
      } catch (const std::bad_alloc&) {
        ++failed;
        add(index, topic(i));
      }
      ASSERT_EQ(index.size(), static_cast<std::size_t>(i + 1));
    }
    for (int i = 0; i < kCount; ++i) ASSERT_NE(find(index, topic(i)), nullptr) << i;
    EXPECT_EQ(Named::alive, kCount);
    EXPECT_GT(failed, 0);
    failed = 0;
    for (int i = 0; i < kCount; ++i) {
      Named* entry = find(index, topic(i));
      try {
        const OutOfMemory now;
        index.erase(*entry);
      } catch (const std::bad_alloc&) {
        ++failed;
        ASSERT_EQ(find(index, topic(i)), entry);
        index.erase(*entry);
      }
    }
    EXPECT_GT(failed, 0);
    index.reclaim(kCount);
    EXPECT_EQ(Named::alive, 0);
  }
}

TEST(SlotIndex, WalksEveryEntryOnce) {
  Index index;
  std::set<std::string> expected, seen;
  for (int i = 0; i < 10'000; ++i) expected.emplace(add(index, topic(i))->name());
  index.for_each([&](const Named& entry) { EXPECT_TRUE(seen.emplace(entry.name()).second); });
  EXPECT_EQ(seen, expected);
}

TEST(SlotIndex, AWalkInPiecesSeesWhatStaysOnceThoughTheIndexGrowsAndShrinks) {
  Index index;
  for (int i = 0; i < 10'000; ++i) add(index, topic(i));
  std::map<std::string, int> seen;
  int next = 10'000;
  for (IndexCursor cursor; !cursor.done();) {
    index.reader().walk(cursor, [&](const Named& e) { ++seen[std::string(e.name())]; });
    for (int i = 0; i < 2000 && next < 60'000; ++i) add(index, topic(next++));
    for (int i = 5000; i < 10'000; i += 7) {
      if (Named* entry = find(index, topic(i))) index.erase(*entry);
    }
  }
  for (int i = 0; i < 5000; ++i) ASSERT_EQ(seen[topic(i)], 1) << i;
  for (const auto& [name, times] : seen) ASSERT_LE(times, 1) << name;
}

TEST(NameHash, DependsOnEveryByteAndOnTheSeed) {
  std::set<std::uint64_t> hashes;
  std::size_t made = 0;
  for (std::size_t length = 0; length <= 40; ++length) {
    std::string name(length, 'a');
    hashes.insert(hash_name(name));
    hashes.insert(hash_name(name, 1));
    made += 2;
    for (std::size_t i = 0; i < length; ++i) {
      name[i] = 'b';
      hashes.insert(hash_name(name));
      name[i] = 'a';
      ++made;
    }
  }
  EXPECT_EQ(hashes.size(), made);
}

TEST(SameName, LooksAtEveryByteAndAtTheLength) {
  for (std::size_t length = 0; length <= 40; ++length) {
    const std::string name(length, 'a');
    std::string other = name;
    EXPECT_TRUE(same_name(name, other));
    EXPECT_FALSE(same_name(name, other + 'a'));
    for (std::size_t i = 0; i < length; ++i) {
      other[i] = 'b';
      EXPECT_FALSE(same_name(name, other)) << length << " bytes, the one at " << i;
      other[i] = 'a';
    }
  }
}

}  // namespace
}  // namespace millrace::latest
