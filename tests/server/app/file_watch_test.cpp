// When files count as changed.
#include "server/app/file_watch.hpp"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/server/files.hpp"

namespace millrace::server {
namespace {

struct FileWatchTest : testing::Test {
  // Asked twice, as what has changed must be at rest.
  bool have_changed() {
    const bool at_once = watch.have_changed();
    return watch.have_changed() || at_once;
  }

  const test::Folder folder;
  const std::string one = folder.write("one", "1");
  const std::string two = folder.write("two", "2");
  FileWatch watch;
};

TEST_F(FileWatchTest, SeesAChangeOnceAndWhenItIsAtRest) {
  watch.set_files({one, two});
  EXPECT_FALSE(have_changed());
  folder.write("one", "11");
  EXPECT_FALSE(watch.have_changed());  // the other one may follow
  folder.write("two", "22");
  EXPECT_FALSE(watch.have_changed());
  EXPECT_TRUE(watch.have_changed());
  EXPECT_FALSE(watch.have_changed());
}

TEST_F(FileWatchTest, SeesFilesThatGoComeAndAreReplaced) {
  watch.set_files({one, folder.path("three")});
  std::filesystem::remove(one);
  EXPECT_TRUE(have_changed());
  folder.write("three", "3");
  EXPECT_TRUE(have_changed());
  folder.write("four", "3");
  std::filesystem::rename(folder.path("four"), folder.path("three"));
  EXPECT_TRUE(have_changed());
}

TEST_F(FileWatchTest, SeesWhatALinkLeadsTo) {
  const std::string link = folder.path("link"), other = folder.path("other");
  std::filesystem::create_symlink(one, link);
  watch.set_files({link});
  EXPECT_FALSE(have_changed());
  std::filesystem::create_symlink(two, other);
  std::filesystem::rename(other, link);
  EXPECT_TRUE(have_changed());
}

TEST_F(FileWatchTest, DoesNotSeeWhatWasReadMeanwhile) {
  watch.set_files({one});
  folder.write("one", "11");
  watch.note_read();
  EXPECT_FALSE(have_changed());
}

TEST_F(FileWatchTest, KeepsWhatItKnowsOfAFileThatStays) {
  watch.set_files({one});
  folder.write("one", "11");
  watch.set_files({one, two});
  EXPECT_TRUE(have_changed());
  watch.set_files({});
  folder.write("one", "111");
  EXPECT_FALSE(have_changed());
}

}  // namespace
}  // namespace millrace::server
