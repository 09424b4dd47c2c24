#include "server/http/target.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace millrace::server {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

TEST(HttpTarget, IsTakenApartAndDecoded) {
  std::string path;
  std::vector<std::pair<std::string, std::string>> query;
  ASSERT_TRUE(parse_http_target("/topics/a%2Fb+c?wait=5&x=%20+&flag&=none", path, query));
  EXPECT_EQ(path, "/topics/a/b+c");
  EXPECT_THAT(query, ElementsAre(Pair("wait", "5"), Pair("x", "  "), Pair("flag", "")));
}

TEST(HttpTarget, MayBeAbsolute) {
  std::string path;
  std::vector<std::pair<std::string, std::string>> query;
  ASSERT_TRUE(parse_http_target("http://host:1/metrics", path, query));
  EXPECT_EQ(path, "/metrics");
  ASSERT_TRUE(parse_http_target("http://host", path, query));
  EXPECT_EQ(path, "/");
}

TEST(HttpTarget, RefusesBrokenEscapes) {
  std::string path;
  std::vector<std::pair<std::string, std::string>> query;
  for (const char* target : {"", "*", "metrics", "/%", "/%4", "/%zz", "/%00", "/%-1", "/a?b=%0"}) {
    EXPECT_FALSE(parse_http_target(target, path, query)) << target;
  }
}

}  // namespace
}  // namespace millrace::server
