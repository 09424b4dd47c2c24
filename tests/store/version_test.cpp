// A store of each format that there was is read, and goes on.
#include <gtest/gtest.h>

#include "tests/store/faulty_files.hpp"
#include "tests/store/life.hpp"
#include "tests/store/version_1.hpp"

namespace millrace::store {
namespace {

TEST(Version, AStoreOfVersion1IsReadAndWrittenTo) {
  FaultyFiles files;
  files.set_content("snapshot-0000000000000003", version_1::bytes_of_hex(version_1::snapshot));
  files.set_content("log-0000000000000004", version_1::bytes_of_hex(version_1::log));
  State before;
  for (int life = 0; life < 3; ++life) {
    Log log(files, {});
    const Found found = open_and_read(log);
    EXPECT_EQ(found.recovery.damaged_places, 0u);
    EXPECT_EQ(found.recovery.torn_bytes, 0u);
    if (life == 0) {
      EXPECT_EQ(found.recovery.last_number, 6u);
      EXPECT_EQ(found.recovery.batches, 3u);
      EXPECT_EQ(found.state.size(), 10u);
      EXPECT_TRUE(found.state.contains({2, 1, "Ba/#"}));
      EXPECT_FALSE(found.state.contains({2, 2, "A"}));
      EXPECT_FALSE(found.state.contains({3, 0, "gone"}));
      const std::string entry(std::string("E\0\0\0\3", 5));
      ASSERT_TRUE(found.state.contains({2, 1, entry}));
      EXPECT_EQ(found.state.at({2, 1, entry}).second, 6u);
    } else {
      EXPECT_EQ(found.state, before);
    }
    before = found.state;
    Batch batch;
    batch.put({3, 0, "later"}, std::to_string(life));
    take_in(before, batch.bytes());
    log.append(batch.count(), batch.bytes());
    ASSERT_FALSE(log.write());
    ASSERT_FALSE(log.flush());
    if (life == 1) {
      log.seal();
      ASSERT_FALSE(log.compact());
    }
  }
}

}  // namespace
}  // namespace millrace::store
