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

}  // namespace
}  // namespace millrace::server
