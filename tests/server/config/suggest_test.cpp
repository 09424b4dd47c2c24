#include "server/config/suggest.hpp"

#include <gtest/gtest.h>

namespace millrace::server {
namespace {

TEST(Suggest, CountsEdits) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("port", "prot"), 1u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
}

TEST(Suggest, FindsTheNearestOrNothing) {
  const std::vector<std::string> words = {"--config", "--set", "--http-port"};
  EXPECT_EQ(nearest("--htpp-port", words), "--http-port");
  EXPECT_EQ(nearest("--conf", words), "--config");
  EXPECT_EQ(nearest("--zzzzzzzzz", words), "");
}

TEST(Suggest, FindsAForgottenSection) {
  EXPECT_EQ(nearest("max_capacity", {"queue.max_capacity", "log.level"}), "queue.max_capacity");
}

TEST(Suggest, ReadsSizesAsPeopleWriteThem) {
  EXPECT_EQ(size_suggestion("256MB"), "; did you mean 256000000?");
  EXPECT_EQ(size_suggestion("256 MiB"), "; did you mean 268435456?");
  EXPECT_EQ(size_suggestion("1G"), "; did you mean 1073741824?");
  EXPECT_EQ(size_suggestion("64k"), "; did you mean 65536?");
  for (const char* other : {"", "MB", "12", "12 apples", "12 Mbit", "-1M", "99999999999999999999G",
                            "1000001K", "5MBB"}) {
    EXPECT_EQ(size_suggestion(other), "") << other;
  }
}

}  // namespace
}  // namespace millrace::server
