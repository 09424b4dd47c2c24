// The store with its thread.
#include "core/store/store.hpp"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "tests/store/faulty_files.hpp"
#include "tests/store/life.hpp"

namespace millrace::store {
namespace {

// What the store reports, and a way to wait for it.
class Heard {
 public:
  Store::Listener listener() {
    return {[this](std::uint64_t number) { note([&] { committed_ = number; }); },
            [this](std::string event, std::string) { note([&] { events_.push_back(event); }); }};
  }
  void wait_for_commit(std::uint64_t number) {
    wait([&] { return committed_ >= number; });
  }
  void wait_for_event(const std::string& event) {
    wait([&] { return std::find(events_.begin(), events_.end(), event) != events_.end(); });
  }
  std::uint64_t committed() {
    std::lock_guard lock(mutex_);
    return committed_;
  }

 private:
  template <class Change>
  void note(Change change) {
    std::lock_guard lock(mutex_);
    change();
    changed_.notify_all();
  }
  template <class Done>
  void wait(Done done) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, done);
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t committed_ = 0;
  std::vector<std::string> events_;
};

StoreOptions quick() {
  StoreOptions options;
  options.retry_interval = std::chrono::milliseconds(1);
  options.log = {2000, 6000};
  return options;
}

std::uint64_t put(Store& store, const std::string& key, const std::string& value = "v",
                  bool awaited = true) {
  Batch batch;
  batch.put({3, 0, key}, value);
  return store.append(batch, awaited);
}

State read(FaultyFiles& files) {
  Log log(files, {});
  return open_and_read(log).state;
}

TEST(Store, CommitsInOrderAndFindsAllOfItAgain) {
  FaultyFiles files;
  State model;
  RandomBatches batches(5);
  for (int life = 0; life < 3; ++life) {
    Heard heard;
    Store store(files, quick());
    State found;
    store.open([&](const Record& record) { take_in(found, record); });
    EXPECT_EQ(without_dead_bodies(found), without_dead_bodies(model));
    store.start(heard.listener());
    std::uint64_t last = 0;
    for (int i = 0; i < 2000; ++i) {
      Batch batch = batches.next();
      take_in(model, batch.bytes());
      last = store.append(batch, i % 3 == 0);
      EXPECT_TRUE(batch.empty());
    }
    heard.wait_for_commit(last);
    store.stop();  // idle() is true a moment after the listener was told
    EXPECT_TRUE(store.idle());
    EXPECT_EQ(store.figures().flush_batches.sum.value(), 2000u);
  }
}

StoreOptions patient() {
  StoreOptions options = quick();
  options.unawaited_delay = std::chrono::hours(1);
  return options;
}

TEST(Store, WhatNobodyWaitsForIsFlushedWithWhatComesNext) {
  FaultyFiles files;
  Heard heard;
  Store store(files, patient());
  store.open([](const Record&) {});
  store.start(heard.listener());
  put(store, "a", "v", false);
  put(store, "b", "v", false);
  heard.wait_for_commit(put(store, "c"));
  EXPECT_EQ(store.figures().flushes.value(), 1u);
  put(store, "d", "v", false);
  store.stop();
  EXPECT_EQ(store.figures().flushes.value(), 2u);
  EXPECT_TRUE(read(files).contains({3, 0, "d"}));
}

TEST(Store, WhatSomebodyComesToWaitForIsFlushedThen) {
  FaultyFiles files;
  Heard heard;
  Store store(files, patient());
  store.open([](const Record&) {});
  store.start(heard.listener());
  const std::uint64_t number = put(store, "a", "v", false);
  store.expect();
  heard.wait_for_commit(number);
  store.expect();  // nothing waits
}

TEST(Store, WhatNobodyEverWaitsForIsFlushedAfterAWhile) {
  FaultyFiles files;
  Heard heard;
  StoreOptions options = quick();
  options.unawaited_delay = std::chrono::milliseconds(1);
  Store store(files, options);
  store.open([](const Record&) {});
  store.start(heard.listener());
  heard.wait_for_commit(put(store, "a", "v", false));
}

TEST(Store, ReportsNothingAsCommittedWhileTheDiskIsFullAndGoesOnWhenItIsNot) {
  FaultyFiles files;
  Heard heard;
  Store store(files, quick());
  store.open([](const Record&) {});
  std::atomic<bool> full{true};
  files.before_change = [&] {
    return full ? std::make_error_code(std::errc::no_space_on_device) : std::error_code();
  };
  store.start(heard.listener());
  const std::uint64_t number = put(store, "a");
  heard.wait_for_event("store.failing");
  EXPECT_EQ(heard.committed(), 0u);
  EXPECT_EQ(store.state(), Store::State::failing);
  EXPECT_EQ(store.trouble(), Trouble::no_space);
  full = false;
  heard.wait_for_event("store.works_again");
  heard.wait_for_commit(number);
  EXPECT_EQ(store.state(), Store::State::good);
  EXPECT_EQ(store.trouble(), Trouble::none);
  store.stop();
  files.before_change = nullptr;
  EXPECT_TRUE(read(files).contains({3, 0, "a"}));
}

TEST(Store, NeverTrustsAFlushAgainThatFailed) {
  FaultyFiles files;
  Heard heard;
  Store store(files, quick());
  store.open([](const Record&) {});
  store.start(heard.listener());
  heard.wait_for_commit(put(store, "a"));
  std::atomic<int> changes{0};
  files.before_change = [&] {  // the append works, the flush does not
    return ++changes == 2 ? std::make_error_code(std::errc::io_error) : std::error_code();
  };
  const std::uint64_t lost = put(store, "b");
  heard.wait_for_event("store.failed");
  EXPECT_TRUE(store.failed());
  EXPECT_EQ(store.trouble(), Trouble::broken);
  put(store, "c");
  store.stop();
  EXPECT_LT(heard.committed(), lost);
  EXPECT_EQ(changes, 2);  // it was not tried again
}

TEST(Store, AWriteThatFailsForAnotherReasonIsNoWantOfSpace) {
  FaultyFiles files;
  Heard heard;
  Store store(files, quick());
  store.open([](const Record&) {});
  files.before_change = [] { return std::make_error_code(std::errc::io_error); };
  store.start(heard.listener());
  put(store, "a");
  heard.wait_for_event("store.failing");
  EXPECT_EQ(store.trouble(), Trouble::broken);
}

TEST(Store, LetsAcknowledgementsWaitWhileItCannotWriteThoughItIsFlushedByInterval) {
  FaultyFiles files;
  Heard heard;
  StoreOptions options = quick();
  options.durability = Durability::interval;
  options.interval = std::chrono::hours(1);
  Store store(files, options);
  store.open([](const Record&) {});
  std::atomic<bool> full{true};
  files.before_change = [&] {
    return full ? std::make_error_code(std::errc::no_space_on_device) : std::error_code();
  };
  store.start(heard.listener());
  EXPECT_FALSE(store.acknowledgements_wait());
  put(store, "a");
  heard.wait_for_event("store.failing");
  EXPECT_TRUE(store.acknowledgements_wait());
  const std::uint64_t number = put(store, "b");  // its answer does not wait for the interval, too
  full = false;
  heard.wait_for_commit(number);
  EXPECT_FALSE(store.acknowledgements_wait());
}

TEST(Store, FailsWhereTooMuchWaits) {
  FaultyFiles files;
  Heard heard;
  StoreOptions options = quick();
  options.waiting_bytes_max = 1000;
  Store store(files, options);
  store.open([](const Record&) {});
  files.before_change = [] { return std::make_error_code(std::errc::no_space_on_device); };
  store.start(heard.listener());
  put(store, "a");
  heard.wait_for_event("store.failing");
  put(store, "b", std::string(2000, 'x'));
  heard.wait_for_event("store.failed");
  EXPECT_TRUE(store.failed());
  EXPECT_EQ(heard.committed(), 0u);
}

TEST(Store, WritesBeforeItsIntervalWhereMuchWaits) {
  FaultyFiles files;
  Heard heard;
  StoreOptions options = quick();
  options.durability = Durability::interval;
  options.interval = std::chrono::hours(1);
  options.waiting_bytes_max = 16'000;
  Store store(files, options);
  store.open([](const Record&) {});
  store.start(heard.listener());
  heard.wait_for_commit(put(store, "a", std::string(1000, 'x'), false));
  EXPECT_FALSE(store.is_behind());
}

// From slow_down() on the next change of the folder takes as long as the test says.
class SlowDisk {
 public:
  void slow_down(FaultyFiles& files) {
    files.before_change = [this] {
      std::unique_lock lock(mutex_);
      is_used_ = true;
      changed_.notify_all();
      changed_.wait(lock, [this] { return goes_on_; });
      return std::error_code();
    };
  }
  void wait_until_it_is_used() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return is_used_; });
  }
  void go_on() {
    std::lock_guard lock(mutex_);
    goes_on_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_used_ = false;
  bool goes_on_ = false;
};

TEST(Store, LetsAcknowledgementsWaitWhereTheDiskDoesNotKeepUpWithTheInterval) {
  FaultyFiles files;
  Heard heard;
  StoreOptions options = quick();
  options.durability = Durability::interval;
  options.interval = std::chrono::milliseconds(1);
  options.waiting_bytes_max = 4000;
  SlowDisk disk;
  Store store(files, options);
  store.open([](const Record&) {});
  disk.slow_down(files);
  store.start(heard.listener());
  put(store, "a");
  disk.wait_until_it_is_used();
  EXPECT_FALSE(store.acknowledgements_wait());
  const std::uint64_t last = put(store, "b", std::string(2000, 'x'));
  EXPECT_TRUE(store.acknowledgements_wait());
  disk.go_on();
  heard.wait_for_commit(last);
  EXPECT_FALSE(store.acknowledgements_wait());
}

TEST(Store, IsWaitedForWhileItIsBehindUnlessTheDiskFails) {
  FaultyFiles files;
  Heard heard;
  StoreOptions options = quick();
  options.waiting_bytes_max = 4000;
  SlowDisk disk;
  Store store(files, options);
  store.open([](const Record&) {});
  disk.slow_down(files);
  store.start(heard.listener());
  put(store, "a");
  disk.wait_until_it_is_used();
  put(store, "b", std::string(2000, 'x'));
  EXPECT_TRUE(store.is_behind());
  std::thread other([&] { disk.go_on(); });
  store.wait_while_behind();
  EXPECT_FALSE(store.is_behind());
  other.join();
  heard.wait_for_commit(2);
  files.before_change = [] { return std::make_error_code(std::errc::no_space_on_device); };
  put(store, "c");
  heard.wait_for_event("store.failing");
  put(store, "d", std::string(2000, 'x'));
  store.wait_while_behind();
  EXPECT_TRUE(store.is_behind());
}

TEST(Store, FailsWhereTheDiskTakesNothingAndSaysNothing) {
  FaultyFiles files;
  Heard heard;
  StoreOptions options = quick();
  options.waiting_bytes_max = 1000;
  SlowDisk disk;
  Store store(files, options);
  store.open([](const Record&) {});
  disk.slow_down(files);
  store.start(heard.listener());
  put(store, "a");
  disk.wait_until_it_is_used();
  put(store, "b", std::string(2000, 'x'));
  EXPECT_FALSE(store.failed());
  put(store, "c", std::string(2000, 'x'));
  EXPECT_TRUE(store.failed());
  disk.go_on();
  heard.wait_for_event("store.failed");
}

TEST(Store, SaysThatItEndedBeforeItCouldWrite) {
  FaultyFiles files;
  Heard heard;
  Store store(files, quick());
  store.open([](const Record&) {});
  files.before_change = [] { return std::make_error_code(std::errc::no_space_on_device); };
  store.start(heard.listener());
  put(store, "a");
  heard.wait_for_event("store.failing");
  store.stop();
  heard.wait_for_event("store.failed");
}

TEST(Store, WritesWhatWaitsBeforeItStops) {
  FaultyFiles files;
  StoreOptions options = quick();
  options.durability = Durability::interval;
  options.interval = std::chrono::hours(1);
  {
    Store store(files, options);
    store.open([](const Record&) {});
    store.start({});
    EXPECT_FALSE(store.acknowledgements_wait());
    put(store, "a", "v", false);
    store.stop();
  }
  EXPECT_TRUE(read(files).contains({3, 0, "a"}));
}

}  // namespace
}  // namespace millrace::store
