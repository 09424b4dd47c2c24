// Copies of a store's folder that fail.
#include "core/store/backup.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/server/files.hpp"

namespace millrace::store {
namespace {

using test::Folder;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> names_in(const Folder& folder, const std::string& name) {
  std::vector<std::string> names;
  EXPECT_FALSE(PosixFiles(folder.path(name)).list(names));
  std::sort(names.begin(), names.end());
  return names;
}

TEST(BackUp, CopiesTheFilesOfAStoreUnderTheirNames) {
  const Folder folder;
  std::filesystem::create_directory(folder.path("store"));
  folder.write("store/log-0000000000000007", "changes");
  folder.write("store/snapshot-0000000000000006", "what was alive");
  folder.write("store/new-snapshot", "is being written");
  const BackUp made = back_up(folder.path("store"), folder.path("copy"));
  EXPECT_EQ(made.files, 2u);
  EXPECT_EQ(made.bytes, 21u);
  EXPECT_THAT(names_in(folder, "copy"),
              ElementsAre("log-0000000000000007", "snapshot-0000000000000006"));
  EXPECT_EQ(folder.read("copy/snapshot-0000000000000006"), "what was alive");
}

TEST(BackUp, LeavesNothingWhereItFails) {
  const Folder folder;
  std::filesystem::create_directory(folder.path("store"));
  folder.write("store/log-0000000000000007", "changes");
  // It can be opened, and not be read.
  std::filesystem::create_directory(folder.path("store/snapshot-0000000000000006"));
  EXPECT_THROW(back_up(folder.path("store"), folder.path("copy")), StoreError);
  EXPECT_THAT(names_in(folder, "copy"), IsEmpty());
}

}  // namespace
}  // namespace millrace::store
