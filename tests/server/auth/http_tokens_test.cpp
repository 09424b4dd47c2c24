// Tokens of programs: which files hold one, and what each may do.
#include "server/auth/http_tokens.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/server/files.hpp"

namespace millrace::server {
namespace {

using ::testing::HasSubstr;

const std::string secret(40, 's');

struct HttpTokensTest : testing::Test {
  // "" or the faults, a line each.
  std::string read(const std::vector<HttpTokenConfig>& config) {
    std::vector<ConfigFault> faults;
    tokens = HttpTokens::read(config, faults);
    std::string text;
    for (const ConfigFault& fault : faults) text += fault.path + ": " + fault.message + "\n";
    return text;
  }
  std::string fault_of(const std::string& content) {
    return read({{"scraper", folder.write("bad", content), {"metrics"}}});
  }

  const test::Folder folder;
  HttpTokens tokens;
};

TEST_F(HttpTokensTest, AreKnownByTheirWholeText) {
  const std::string file = folder.write("token", secret + "\n");
  ASSERT_EQ(read({{"scraper", file, {"metrics", "read"}}}), "");
  const HttpToken* token = tokens.find(secret);
  ASSERT_NE(token, nullptr);
  EXPECT_EQ(token->name, "scraper");
  EXPECT_TRUE(token->has(HttpScope::metrics));
  EXPECT_TRUE(token->has(HttpScope::read));
  EXPECT_FALSE(token->has(HttpScope::publish));
  EXPECT_FALSE(token->has(HttpScope::manage));
  for (const std::string& other :
       {std::string(), secret + "s", secret.substr(1), secret + "\n", std::string(1 << 20, 's')}) {
    EXPECT_EQ(tokens.find(other), nullptr);
  }
}

TEST_F(HttpTokensTest, AreNoneWithoutAConfiguration) {
  EXPECT_EQ(read({}), "");
  EXPECT_EQ(tokens.find(""), nullptr);
  EXPECT_EQ(tokens.find(secret), nullptr);
}

TEST_F(HttpTokensTest, ThatCannotBeUsedAreFaultsOfTheirFile) {
  EXPECT_THAT(fault_of("short\n"), HasSubstr("access.http_tokens[0].token_file: has less than 32"));
  EXPECT_THAT(fault_of(""), HasSubstr("has no first line"));
  EXPECT_THAT(fault_of("\n" + secret), HasSubstr("has no first line"));
  EXPECT_THAT(fault_of(secret + " " + secret), HasSubstr("has characters other than"));
  EXPECT_THAT(fault_of(std::string(5000, 's')), HasSubstr("is longer than 4,096"));
  EXPECT_THAT(read({{"scraper", "/nonexistent", {"metrics"}}}),
              HasSubstr("token_file: cannot read /nonexistent: No such file"));
  EXPECT_THAT(read({{"scraper", "", {"metrics"}}}), HasSubstr("token_file: is needed"));
}

TEST_F(HttpTokensTest, NeedANameAndScopesThatThereAre) {
  const std::string file = folder.write("token", secret);
  EXPECT_THAT(read({{"", file, {"read"}}}), HasSubstr("access.http_tokens[0].name: is needed"));
  EXPECT_THAT(read({{"x", file, {}}}), HasSubstr("[0].scopes: at least one is needed"));
  EXPECT_THAT(read({{"x", file, {"all"}}}), HasSubstr("must be metrics, read, publish or manage"));
  EXPECT_THAT(read({{"x", file, {"mange"}}}), HasSubstr("\"mange\"; did you mean \"manage\"?"));
  EXPECT_THAT(read({{"x", file, {"read"}}, {"y", file, {"manage"}}}),
              HasSubstr("access.http_tokens[1].token_file: is the token of another one"));
}

}  // namespace
}  // namespace millrace::server
