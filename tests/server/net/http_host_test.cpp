#include "server/net/http_host.hpp"

#include <gtest/gtest.h>

namespace millrace::server {
namespace {

TEST(HttpHost, IsTheNameWithoutItsPortInLowerCase) {
  EXPECT_EQ(host_of_authority("Example.COM:8083"), "example.com");
  EXPECT_EQ(host_of_authority("example.com."), "example.com");
  EXPECT_EQ(host_of_authority("[::1]:80"), "::1");
  EXPECT_EQ(host_of_authority("127.0.0.1"), "127.0.0.1");
}

TEST(HttpHost, IsNothingWhereItCannotBeRead) {
  for (const char* text :
       {"", ":80", "[::1", "a:b", "a:123456", "[::1]x", "user@host", "a b", "a/b"}) {
    EXPECT_EQ(host_of_authority(text), std::nullopt) << text;
  }
}

TEST(HttpTarget, MayNameItsHost) {
  EXPECT_EQ(split_target("/mqtt?x").authority, "");
  EXPECT_EQ(split_target("/mqtt?x").path, "/mqtt?x");
  EXPECT_EQ(split_target("http://a:1/mqtt?x").authority, "a:1");
  EXPECT_EQ(split_target("http://a:1/mqtt?x").path, "/mqtt?x");
  EXPECT_EQ(split_target("WSS://a").path, "/");
  EXPECT_EQ(split_target("ftp://a/b").path, "ftp://a/b");
}

}  // namespace
}  // namespace millrace::server
