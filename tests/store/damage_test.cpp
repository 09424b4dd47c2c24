// Damage: each bit of a small store flipped, each length it can be cut to.
#include <gtest/gtest.h>

#include "tests/store/faulty_files.hpp"
#include "tests/store/life.hpp"

namespace millrace::store {
namespace {

// A snapshot and a log that has one batch of each kind of record.
class DamageTest : public testing::Test {
 protected:
  DamageTest() {
    Log log(files_, {});
    open_and_read(log);
    const auto add = [&](auto fill) {
      Batch batch;
      fill(batch);
      batches_.push_back(batch);
      log.append(batch.count(), batch.bytes());
      EXPECT_FALSE(log.write());
      EXPECT_FALSE(log.flush());
    };
    add([](Batch& batch) { batch.put({3, 0, "kept"}, "in the snapshot"); });
    log.seal();
    EXPECT_FALSE(log.compact());
    add([](Batch& batch) { batch.put({2, 1, "put"}, "value"); });
    add([](Batch& batch) {
      batch.put({body_space, 9, ""}, "body");
      batch.put({2, 2, "names"}, "it", 9);
    });
    add([](Batch& batch) { batch.put({2, 3, "group"}, "goes"); });
    add([](Batch& batch) { batch.erase({2, 1, "put"}); });
    add([](Batch& batch) { batch.erase_group(2, 3); });
    add([](Batch& batch) { batch.put({3, 0, "last"}, "one"); });
  }

  // What there is if these batches are left out; the first one is number 1.
  State state_without(std::size_t from, std::size_t to) const {
    State state;
    for (std::size_t i = 0; i < batches_.size(); ++i) {
      if (i + 1 < from || i + 1 >= to) take_in(state, batches_[i].bytes());
    }
    return state;
  }

  static constexpr const char* log_name = "log-0000000000000002";
  static constexpr const char* snapshot_name = "snapshot-0000000000000001";
  FaultyFiles files_;
  std::vector<Batch> batches_;
};

TEST_F(DamageTest, AFlippedBitCostsTheBatchThatItIsInAndNoOther) {
  const auto contents = files_.contents();
  ASSERT_TRUE(contents.contains(log_name));
  const Bytes& log_content = contents.at(log_name);
  for (std::size_t bit = 0; bit < log_content.size() * 8; ++bit) {
    // Which batch that byte is of; 0: the file's head.
    std::size_t number = 0;
    for (std::size_t at = FileHead::size, one = 2; at <= bit / 8; ++one) {
      number = one;
      at += BatchHead::size + batches_[one - 1].bytes().size();
    }
    Bytes flipped = log_content;
    flipped[bit / 8] ^= static_cast<std::uint8_t>(1u << (bit % 8));
    FaultyFiles files;
    for (const auto& [name, content] : contents) files.set_content(name, content);
    files.set_content(log_name, flipped);
    Log log(files, {});
    const Found found = open_and_read(log);
    if (number == 0) {
      EXPECT_EQ(found.state, state_without(0, 0)) << bit;
    } else {
      EXPECT_EQ(found.state, state_without(number, number + 1)) << bit;
    }
    if (number == batches_.size()) {  // as if the last write had been torn
      EXPECT_GT(found.recovery.torn_bytes, 0u) << bit;
      continue;
    }
    EXPECT_EQ(found.recovery.damaged_places, 1u) << bit;
    EXPECT_EQ(found.recovery.missing_batches, number == 0 ? 0u : 1u) << bit;
    ASSERT_EQ(found.recovery.damaged_files.size(), 1u);
    EXPECT_TRUE(files.has(found.recovery.damaged_files[0])) << bit;
  }
}

TEST_F(DamageTest, AFlippedBitInTheSnapshotIsNoticedAndTheRestIsServed) {
  const Bytes content = files_.contents().at(snapshot_name);
  for (std::size_t bit = 0; bit < content.size() * 8; ++bit) {
    Bytes flipped = content;
    flipped[bit / 8] ^= static_cast<std::uint8_t>(1u << (bit % 8));
    FaultyFiles files;
    for (const auto& [name, bytes] : files_.contents()) files.set_content(name, bytes);
    files.set_content(snapshot_name, flipped);
    Log log(files, {});
    const Found found = open_and_read(log);
    EXPECT_GE(found.recovery.damaged_places, 1u) << bit;
    const bool in_head = bit / 8 < FileHead::size;
    EXPECT_EQ(found.state, in_head ? state_without(0, 0) : state_without(1, 2)) << bit;
  }
}

TEST_F(DamageTest, AFileThatIsCutAnywhereHoldsTheBatchesBefore) {
  const Bytes content = files_.contents().at(log_name);
  for (std::size_t bytes = 0; bytes < content.size(); ++bytes) {
    FaultyFiles files;
    for (const auto& [name, one] : files_.contents()) files.set_content(name, one);
    files.set_content(log_name,
                      Bytes(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(bytes)));
    Log log(files, {});
    const Found found = open_and_read(log);
    EXPECT_EQ(found.recovery.damaged_places, 0u) << bytes;
    const std::size_t number = found.recovery.last_number;
    EXPECT_EQ(found.state, state_without(number + 1, batches_.size() + 1)) << bytes;
    std::size_t end = FileHead::size;
    for (std::size_t i = 1; i < number; ++i) end += BatchHead::size + batches_[i].bytes().size();
    EXPECT_LE(end, std::max(bytes, FileHead::size));
    // And it is whole from then on.
    Log again(files, {});
    const Found once_more = open_and_read(again);
    EXPECT_EQ(once_more.state, found.state);
    EXPECT_EQ(once_more.recovery.torn_bytes, 0u);
  }
}

TEST_F(DamageTest, ASearchForTheNextBatchTakesNoneFromInsideAPayload) {
  FaultyFiles files;
  Log log(files, {});
  open_and_read(log);
  // A client publishes what looks like a batch of the store.
  Batch inner;
  inner.put({2, 66, "forged"}, "session");
  Bytes forged;
  BatchHead head;
  head.number = 2;
  head.flushed = 1;
  append_batch(forged, head, inner.bytes());
  for (int i = 0; i < 3; ++i) {
    Batch batch;
    batch.put({3, 0, "topic" + std::to_string(i)}, text_of(forged));
    log.append(batch.count(), batch.bytes());
    ASSERT_FALSE(log.write());
    ASSERT_FALSE(log.flush());
  }
  Bytes content = files.contents().at("log-0000000000000001");
  content[FileHead::size + BatchHead::size + 2] ^= 1;  // of the first payload
  files.set_content("log-0000000000000001", content);
  Log again(files, {});
  const Found found = open_and_read(again);
  EXPECT_FALSE(found.state.contains({2, 66, "forged"}));
  EXPECT_TRUE(found.state.contains({3, 0, "topic1"}));
  EXPECT_EQ(found.recovery.missing_batches, 1u);
}

// Three batches that one flush made durable, and one that came later.
class DamageOfGroups : public testing::Test {
 protected:
  static Batch batch(int number) {
    Batch batch;
    batch.put({3, 0, "topic" + std::to_string(number)}, "value");
    return batch;
  }
  static bool has(const State& state, int number) {
    return state.contains({3, 0, "topic" + std::to_string(number)});
  }
  void append(Log& log, int from, int to) {
    for (int number = from; number <= to; ++number) {
      log.append(1, batch(number).bytes());
    }
    ASSERT_FALSE(log.write());
    ASSERT_FALSE(log.flush());
  }
  void flip(const char* name, std::size_t index) {
    const std::size_t bytes = BatchHead::size + batch(1).bytes().size();
    Bytes content = files_.contents().at(name);
    content.at(FileHead::size + index * bytes + BatchHead::size + 2) ^= 1;
    files_.set_content(name, content);
  }

  FaultyFiles files_;
};

TEST_F(DamageOfGroups, CostsTheBatchThatItIsInWhereALaterWriteSaysThatAllWereFlushed) {
  {
    Log log(files_, {});
    open_and_read(log);
    append(log, 1, 1);
    append(log, 2, 4);
    append(log, 5, 5);
  }
  flip("log-0000000000000001", 1);
  for (int start = 0; start < 2; ++start) {
    Log log(files_, {});
    const Found found = open_and_read(log);
    EXPECT_EQ(found.recovery.last_number, 5u);
    EXPECT_EQ(found.recovery.missing_batches, 1u);
    EXPECT_EQ(found.recovery.torn_bytes, 0u);
    for (const int number : {1, 3, 4, 5}) EXPECT_TRUE(has(found.state, number)) << number;
    EXPECT_FALSE(has(found.state, 2));
  }
}

TEST_F(DamageOfGroups, CostsTheBatchThatItIsInWhereAnotherSegmentFollows) {
  const LogOptions options{FileHead::size + 3 * (BatchHead::size + batch(1).bytes().size()),
                           1 << 20};
  {
    Log log(files_, options);
    open_and_read(log);
    append(log, 1, 3);
    append(log, 4, 4);
  }
  ASSERT_TRUE(files_.has("log-0000000000000004"));
  flip("log-0000000000000001", 0);
  Log log(files_, options);
  const Found found = open_and_read(log);
  EXPECT_EQ(found.recovery.missing_batches, 1u);
  for (const int number : {2, 3, 4}) EXPECT_TRUE(has(found.state, number)) << number;
}

TEST_F(DamageOfGroups, AtTheEndOfASegmentIsOnePlaceAlsoWhereTheNextOneIsEmpty) {
  const LogOptions options{FileHead::size + 3 * (BatchHead::size + batch(1).bytes().size()),
                           1 << 20};
  for (const int last : {3, 4}) {
    {
      Log log(files_, options);
      open_and_read(log);
      append(log, 1, 3);
      if (last == 4) append(log, 4, 4);
    }
    if (last == 3) {
      Log log(files_, options);
      open_and_read(log);  // begins a segment
    }
    ASSERT_TRUE(files_.has("log-0000000000000004"));
    flip("log-0000000000000001", 2);
    for (int start = 0; start < 2; ++start) {
      Log log(files_, options);
      const Found found = open_and_read(log);
      EXPECT_EQ(found.recovery.damaged_places, 1u) << start;
      EXPECT_EQ(found.recovery.missing_batches, 1u) << start;
      EXPECT_EQ(found.recovery.damaged_files.size(), start == 0 ? 1u : 0u);
      EXPECT_EQ(found.recovery.last_number, static_cast<std::uint64_t>(last));
      for (const int number : {1, 2}) EXPECT_TRUE(has(found.state, number)) << number;
    }
    for (const auto& [name, content] : files_.contents()) {
      static_cast<void>(files_.remove(name));
    }
  }
}

TEST_F(DamageOfGroups, InTheLastWriteIsCutOffAsIfThatHadBeenTorn) {
  {
    Log log(files_, {});
    open_and_read(log);
    append(log, 1, 1);
    append(log, 2, 4);
  }
  flip("log-0000000000000001", 1);
  Log log(files_, {});
  const Found found = open_and_read(log);
  EXPECT_EQ(found.recovery.last_number, 1u);
  EXPECT_EQ(found.recovery.damaged_places, 0u);
  EXPECT_GT(found.recovery.torn_bytes, 0u);
}

TEST_F(DamageTest, AFileThatIsMissingIsNoticed) {
  FaultyFiles files;
  files.set_content(log_name, files_.contents().at(log_name));
  Log log(files, {});
  const Found found = open_and_read(log);
  EXPECT_EQ(found.recovery.missing_batches, 1u);
  EXPECT_EQ(found.recovery.damaged_places, 1u);
  EXPECT_EQ(found.state, state_without(1, 2));
}

TEST_F(DamageTest, ToInspectChangesNothing) {
  Bytes content = files_.contents().at(log_name);
  content.pop_back();
  content[FileHead::size + 5] ^= 1;
  files_.set_content(log_name, content);
  const auto before = files_.contents();
  Log log(files_, {});
  const Found found = open_and_read(log, Log::Mode::inspect);
  EXPECT_GT(found.recovery.torn_bytes, 0u);
  EXPECT_EQ(found.recovery.damaged_places, 1u);
  EXPECT_EQ(files_.contents(), before);
}

}  // namespace
}  // namespace millrace::store
