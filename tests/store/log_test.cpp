// The log: LogTest on a folder of the real file system, Log on one in memory.
#include "core/store/log.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <string>

#include "tests/store/faulty_files.hpp"
#include "tests/store/life.hpp"

namespace millrace::store {
namespace {

class LogTest : public testing::Test {
 protected:
  LogTest() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = testing::TempDir() + "millrace-log-" + std::to_string(getpid()) + "-" + test->name();
    std::filesystem::remove_all(folder_);
  }
  ~LogTest() override { std::filesystem::remove_all(folder_); }

  std::string folder_;
};

void write(Log& log, const Batch& batch) {
  log.append(batch.count(), batch.bytes());
  ASSERT_FALSE(log.write());
  ASSERT_FALSE(log.flush());
}

TEST_F(LogTest, FindsWhatWasWrittenBeforeItWasClosed) {
  State model;
  RandomBatches batches(1);
  for (int life = 0; life < 3; ++life) {
    PosixFiles files(folder_);
    Log log(files, {2000, 6000});
    const Found found = open_and_read(log);
    EXPECT_EQ(without_dead_bodies(found.state), without_dead_bodies(model));
    EXPECT_EQ(found.recovery.torn_bytes + found.recovery.damaged_places, 0u);
    for (int i = 0; i < 200; ++i) {
      const Batch batch = batches.next();
      take_in(model, batch.bytes());
      write(log, batch);
      if (!log.wants_compaction()) continue;
      log.seal();
      ASSERT_FALSE(log.compact());
    }
    EXPECT_GT(log.compactions(), 0u);
  }
}

TEST_F(LogTest, IsRefusedToASecondOne) {
  PosixFiles files(folder_);
  Log log(files, {});
  open_and_read(log);
  PosixFiles others(folder_);
  Log second(others, {});
  EXPECT_THROW(open_and_read(second), StoreError);
}

TEST_F(LogTest, KeepsItsFilesForItsOwnerAlone) {
  PosixFiles files(folder_);
  Log log(files, {});
  open_and_read(log);
  namespace fs = std::filesystem;
  EXPECT_EQ(fs::status(folder_).permissions(), fs::perms::owner_all);
  for (const auto& entry : fs::directory_iterator(folder_)) {
    EXPECT_EQ(entry.status().permissions(), fs::perms::owner_read | fs::perms::owner_write);
  }
}

TEST(Log, GivesBackTheSpaceOfWhatWasReplaced) {
  FaultyFiles files;
  Log log(files, {10'000, 50'000});
  open_and_read(log);
  Batch batch;
  const std::string value(100, 'v');
  for (int round = 0; round < 200; ++round) {
    for (int key = 0; key < 1000; ++key) batch.put({3, 0, std::to_string(key)}, value);
    write(log, batch);
    batch.clear();
    if (!log.wants_compaction()) continue;
    log.seal();
    ASSERT_FALSE(log.compact());
    std::uint64_t total = 0;
    for (const auto& [name, content] : files.contents()) total += content.size();
    EXPECT_LE(total, log.snapshot_bytes() * 5 / 2);
    EXPECT_EQ(total, log.snapshot_bytes() + log.log_bytes());
  }
  EXPECT_GT(log.compactions(), 10u);
}

TEST(Log, DropsBodiesThatNothingNames) {
  FaultyFiles files;
  Log log(files, {});
  open_and_read(log);
  Batch batch;
  batch.put({body_space, 1, ""}, "one");
  batch.put({body_space, 2, ""}, "two");
  batch.put({2, 5, "a"}, "", 1);
  batch.put({2, 5, "b"}, "", 2);
  write(log, batch);
  batch.clear();
  batch.erase({2, 5, "a"});
  write(log, batch);
  log.seal();
  ASSERT_FALSE(log.compact());
  Log again(files, {});
  const Found found = open_and_read(again);
  EXPECT_FALSE(found.state.contains({body_space, 1, ""}));
  EXPECT_TRUE(found.state.contains({body_space, 2, ""}));
}

TEST(Log, RefusesANewerFormatAndSaysSo) {
  FaultyFiles files;
  Bytes content;
  append_file_head(content, {FileKind::log, format_version + 1, 1});
  files.set_content("log-0000000000000001", content);
  Log log(files, {});
  try {
    open_and_read(log);
    FAIL();
  } catch (const StoreError& error) {
    EXPECT_NE(std::string(error.what()).find("newer"), std::string::npos) << error.what();
  }
}

// What it shows is acted upon, so a loss of power must not take it away any more.
TEST(Log, WhatIsFoundIsOnTheDiskWhateverTheLastProcessFlushed) {
  for (const bool failing : {false, true}) {
    FaultyFiles files;
    State shown;
    {
      Log log(files, {});
      open_and_read(log);
      Batch batch;
      batch.put({3, 0, "flushed"}, "v");
      write(log, batch);
      batch.clear();
      batch.put({3, 0, "not flushed"}, "v");
      log.append(batch.count(), batch.bytes());
      ASSERT_FALSE(log.write());
      if (failing) {
        files.before_change = [] { return std::make_error_code(std::errc::io_error); };
        ASSERT_TRUE(log.flush());
        files.before_change = nullptr;
      }
    }
    Log next(files, {});
    shown = open_and_read(next).state;
    EXPECT_EQ(shown.size(), 2u);
    std::mt19937_64 random(1);
    const auto left = files.after_crash(FaultyFiles::Unflushed::lost, random);
    Log after(*left, {});
    EXPECT_EQ(open_and_read(after).state, shown);
  }
}

TEST(Log, WhatAFailedWriteLeftIsOnTheDiskIfItIsFound) {
  FaultyFiles files;
  {
    Log log(files, {});
    open_and_read(log);
    Batch batch;
    batch.put({3, 0, "flushed"}, "v");
    write(log, batch);
    batch.clear();
    batch.put({3, 0, "found"}, "v");
    log.append(batch.count(), batch.bytes());
    batch.clear();
    batch.put({3, 0, "torn"}, std::string(1000, 'v'));
    log.append(batch.count(), batch.bytes());
    int change = 0;
    files.before_change = [&] {  // a half is written, and of the next segment a half of its head
      return ++change != 2 ? std::make_error_code(std::errc::no_space_on_device)
                           : std::error_code();
    };
    ASSERT_TRUE(log.write());
    ASSERT_TRUE(log.write());
    files.before_change = nullptr;
  }
  Log next(files, {});
  const State shown = open_and_read(next).state;
  EXPECT_TRUE(shown.contains({3, 0, "found"}));
  std::mt19937_64 random(1);
  const auto left = files.after_crash(FaultyFiles::Unflushed::lost, random);
  Log after(*left, {});
  EXPECT_EQ(open_and_read(after).state, shown);
}

TEST(Log, WritesOnInANewSegmentWhereAWriteFailed) {
  for (int failing = 0; failing < 4; ++failing) {
    FaultyFiles files;
    Log log(files, {});
    open_and_read(log);
    State model;
    RandomBatches batches(3);
    for (int i = 0; i < 50; ++i) {
      const Batch batch = batches.next();
      take_in(model, batch.bytes());
      log.append(batch.count(), batch.bytes());
      int left = i % 7 == 3 ? failing : 0;
      files.before_change = [&] {
        return left-- > 0 ? std::make_error_code(std::errc::no_space_on_device) : std::error_code();
      };
      while (log.write()) {
      }
      ASSERT_FALSE(log.flush());
    }
    files.before_change = nullptr;
    Log again(files, {});
    const Found found = open_and_read(again);
    EXPECT_EQ(found.state, model);
    EXPECT_EQ(found.recovery.damaged_places + found.recovery.missing_batches, 0u);
  }
}

TEST_F(LogTest, ACompactionThatIsStoppedLeavesEverythingAsItWas) {
  State model;
  {
    PosixFiles files(folder_);
    Log log(files, {2000, 6000});
    open_and_read(log);
    RandomBatches batches(3);
    const auto write_some = [&] {
      for (int i = 0; i < 50; ++i) {
        const Batch batch = batches.next();
        take_in(model, batch.bytes());
        write(log, batch);
      }
      log.seal();
    };
    write_some();
    ASSERT_FALSE(log.compact());
    write_some();
    log.stop_compacting();
    EXPECT_EQ(log.compact(), std::errc::operation_canceled);
    EXPECT_EQ(log.compactions(), 1u);
  }
  PosixFiles files(folder_);
  Log log(files, {});
  EXPECT_EQ(without_dead_bodies(open_and_read(log).state), without_dead_bodies(model));
}

// Some records, in the order of keys.
std::error_code show_two(const Log::Visit& visit) {
  visit({RecordKind::put, {2, 7, "new"}, "one", 0});
  visit({RecordKind::put, {3, 0, "new"}, "two", 0});
  return {};
}

TEST_F(LogTest, WhatReplacesTheStoreIsAllThatIsThereFromThenOn) {
  State model;
  {
    PosixFiles files(folder_);
    Log log(files, {2000, 6000});
    open_and_read(log);
    RandomBatches batches(1);
    for (int i = 0; i < 50; ++i) write(log, batches.next());
    ASSERT_FALSE(log.replace(show_two));
    EXPECT_EQ(log.log_bytes(), 0u);
    Batch batch;  // and it goes on from there
    batch.put({3, 0, "later"}, "three");
    write(log, batch);
    ASSERT_FALSE(show_two([&](const Record& record) { take_in(model, record); }));
    take_in(model, batch.bytes());
  }
  PosixFiles files(folder_);
  Log log(files, {});
  const Found found = open_and_read(log);
  EXPECT_EQ(found.state, model);
  EXPECT_EQ(found.recovery.damaged_places + found.recovery.missing_batches, 0u);
}

// At every change of the folder.
TEST(Log, ReplacesAllOrNothing) {
  std::mt19937_64 random(1);
  State before;
  State after;
  ASSERT_FALSE(show_two([&](const Record& record) { take_in(after, record); }));
  for (const auto unflushed : {FaultyFiles::Unflushed::lost, FaultyFiles::Unflushed::kept,
                               FaultyFiles::Unflushed::torn, FaultyFiles::Unflushed::in_part}) {
    FaultyFiles files;
    Log log(files, {700, 2500});
    open_and_read(log);
    before.clear();
    RandomBatches batches(2);
    for (int i = 0; i < 30; ++i) {
      const Batch batch = batches.next();
      take_in(before, batch.bytes());
      write(log, batch);
    }
    int crashes = 0;
    files.before_change = [&] {
      ++crashes;
      const auto left = files.after_crash(unflushed, random);
      Log found(*left, {});
      const State state = open_and_read(found).state;
      EXPECT_TRUE(state == after || without_dead_bodies(state) == without_dead_bodies(before));
      return std::error_code();
    };
    ASSERT_FALSE(log.replace(show_two));
    files.before_change = nullptr;
    EXPECT_GT(crashes, 5);
    const auto left = files.after_crash(unflushed, random);
    Log found(*left, {});
    EXPECT_EQ(open_and_read(found).state, after);
  }
}

}  // namespace
}  // namespace millrace::store
