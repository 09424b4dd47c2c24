// What is a URL of a hook.
#include "server/config/http_url.hpp"

#include <gtest/gtest.h>

namespace millrace::server {
namespace {

HttpUrl parsed(const char* text) {
  std::string fault;
  return parse_http_url(text, fault).value();
}

TEST(HttpUrl, HasAHostAPortAndATarget) {
  const HttpUrl whole = parsed("http://127.0.0.1:8080/mqtt/login?a=b");
  EXPECT_EQ(whole.host, "127.0.0.1");
  EXPECT_EQ(whole.port, "8080");
  EXPECT_EQ(whole.target, "/mqtt/login?a=b");
  EXPECT_FALSE(whole.uses_tls);
  EXPECT_EQ(whole.host_field(), "127.0.0.1:8080");
  const HttpUrl brief = parsed("https://login.example");
  EXPECT_EQ(brief.port, "443");
  EXPECT_EQ(brief.target, "/");
  EXPECT_TRUE(brief.uses_tls);
  EXPECT_EQ(brief.host_field(), "login.example");
  const HttpUrl v6 = parsed("http://[::1]:81/");
  EXPECT_EQ(v6.host, "::1");
  EXPECT_EQ(v6.host_field(), "[::1]:81");
}

TEST(HttpUrl, IsRefusedIfItSaysAnythingElse) {
  for (const char* text : {"", "login", "ftp://a/", "http://", "http:///x", "http://a:0/",
                           "http://a:65536/", "http://a:8x/", "http://a:/", "http://[::1/",
                           "http://[::1]8/", "http://u:p@a/", "http://a b/", "http://a/\r\nX: y",
                           "http://a/#x", "http://a?x=1", "http://a?x=/1", "http://[a]/"}) {
    std::string fault;
    EXPECT_FALSE(parse_http_url(text, fault)) << text;
    EXPECT_NE(fault, "") << text;
  }
}

}  // namespace
}  // namespace millrace::server
