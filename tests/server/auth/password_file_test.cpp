// Password files, and that mosquitto's program and ours understand each other.
#include "server/auth/password_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/auth/user_file.hpp"
#include "tests/server/files.hpp"

namespace millrace::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

PasswordFile parse(const std::string& text) {
  std::vector<std::string> faults;
  auto file = PasswordFile::parse(text, faults);
  EXPECT_THAT(faults, IsEmpty());
  return file;
}

// Made by an implementation that is not ours: Python's hashlib.pbkdf2_hmac("sha512", b"secret",
// b"0123456789ab", 101) and its base64.
constexpr const char* foreign_line =
    "ann:$7$101$MDEyMzQ1Njc4OWFi$"
    "EO/lLlkeUgIiBaS8G8UK0ZMP1u508TA7Tl+AdJ1cEsmlbGyEPAERErpfq84j1kepISs0UzmcdL4ucgZ2uodxfQ==";

TEST(PasswordHash, AgreesWithAnotherImplementation) {
  EXPECT_TRUE(parse(foreign_line).verify("ann", "secret"));
  EXPECT_FALSE(parse(foreign_line).verify("ann", "secret "));
}

TEST(PasswordHash, SurvivesBeingWrittenAndRead) {
  const auto hash = PasswordHash::make("pass\nword", 7);
  PasswordHash read;
  ASSERT_TRUE(PasswordHash::parse(hash.to_string(), read));
  EXPECT_TRUE(read.matches("pass\nword"));
  EXPECT_FALSE(read.matches("password"));
  EXPECT_THAT(hash.to_string(), StartsWith("$7$7$"));
}

TEST(PasswordHash, HasASaltOfItsOwn) {
  EXPECT_NE(PasswordHash::make("x", 1).to_string(), PasswordHash::make("x", 1).to_string());
}

TEST(PasswordHash, RefusesWhatIsNoHash) {
  const std::string hash = PasswordHash::make("x", 1).to_string();
  PasswordHash out;
  for (const std::string& text :
       {std::string(""), std::string("secret"), std::string("$7$"), std::string("$7$1$"),
        std::string("$7$0") + hash.substr(4), std::string("$7$-1") + hash.substr(4),
        std::string("$7$99999999999") + hash.substr(4), hash.substr(0, hash.size() - 4),
        hash + "AAAA", std::string("$5$") + hash.substr(3), std::string("$7$1$!!!!$") + "AAAA"}) {
    EXPECT_FALSE(PasswordHash::parse(text, out)) << text;
  }
}

// From the tests of the reference implementation (phc-winner-argon2, test.c).
constexpr const char* argon2_by_others =
    "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

TEST(Argon2Hash, AgreesWithAnotherImplementation) {
  PasswordHash hash;
  ASSERT_TRUE(PasswordHash::parse(argon2_by_others, hash));
  EXPECT_TRUE(hash.matches("password"));
  EXPECT_FALSE(hash.matches("Password"));
  EXPECT_EQ(hash.to_string(), argon2_by_others);
}

TEST(Argon2Hash, SurvivesBeingWrittenAndRead) {
  const PasswordHash hash = PasswordHash::make_argon2("se cret");
  PasswordHash read;
  ASSERT_TRUE(PasswordHash::parse(hash.to_string(), read));
  EXPECT_TRUE(read.matches("se cret"));
  EXPECT_FALSE(read.matches("secret"));
  EXPECT_THAT(hash.to_string(), StartsWith("$argon2id$v=19$m=19456,t=2,p=1$"));
}

TEST(Argon2Hash, RefusesWhatIsNoneOrAsksForTooMuch) {
  const std::string tail = "$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
  for (const std::string& head :
       {std::string("$argon2id$v=19$m=256,t=2,p=1,x=1"),
        std::string("$argon2id$v=16$m=256,t=2,p=1"), std::string("$argon2i$v=19$m=256,t=2,p=1"),
        std::string("$argon2id$v=19$m=7,t=2,p=1"), std::string("$argon2id$v=19$m=256,t=0,p=1"),
        std::string("$argon2id$v=19$m=256,t=101,p=1"),
        std::string("$argon2id$v=19$m=1048577,t=1,p=1"),
        std::string("$argon2id$v=19$m=256,t=2,p=17"), std::string("$argon2id$v=19$t=2,m=256,p=1"),
        std::string("$argon2id$v=19$m=,t=2,p=1"), std::string("$argon2id$v=19$m=-1,t=2,p=1"),
        std::string("$argon2id$v=19$")}) {
    EXPECT_FALSE(Argon2Hash::parse(head + tail)) << head;
  }
  const std::string good = "$argon2id$v=19$m=256,t=2,p=1";
  EXPECT_TRUE(Argon2Hash::parse(good + tail));
  for (const char* other : {"", "$", "$c29t$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
                            "$c29tZXNhbHQ$AAAA", "$c29tZXNhbHQ=$nf65EOgLrQMR/uIPnA4rEg"}) {
    EXPECT_FALSE(Argon2Hash::parse(good + other)) << other;
  }
}

TEST(PasswordFile, ChecksUsersOfBothKinds) {
  std::string text = with_user("", "ann", PasswordHash::make("a", 1).to_string());
  text = with_user(text, "bob", argon2_by_others);
  const auto file = parse(text);
  EXPECT_TRUE(file.verify("ann", "a"));
  EXPECT_TRUE(file.verify("bob", "password"));
  EXPECT_FALSE(file.verify("ann", "password"));
  EXPECT_FALSE(file.verify("bob", "a"));
  EXPECT_FALSE(file.verify("nobody", "password"));
}

TEST(PasswordFile, SaysWhichLinesAreWrong) {
  const std::string good = PasswordHash::make("x", 1).to_string();
  std::vector<std::string> faults;
  PasswordFile::parse("# comment\n\nann:" + good + "\r\nbob\ncarl:plain\nann:" + good + "\n",
                      faults);
  EXPECT_THAT(faults,
              ElementsAre(StartsWith("line 4: must be user:hash"), StartsWith("line 5: not a hash"),
                          HasSubstr("line 6: the user \"ann\" stands twice")));
}

TEST(PasswordFile, ChecksUsersOfDifferentIterations) {
  std::string text = with_user("", "ann", PasswordHash::make("a", 1).to_string());
  text = with_user(text, "bob", PasswordHash::make("b", 50).to_string());
  const auto file = parse(text);
  EXPECT_TRUE(file.verify("ann", "a"));
  EXPECT_TRUE(file.verify("bob", "b"));
  EXPECT_FALSE(file.verify("ann", "b"));
  EXPECT_FALSE(file.verify("nobody", ""));
}

TEST(PasswordFile, EditsLeaveOtherLinesAlone) {
  const std::string before = "# ours\nann:1\nanna:2\n";
  const std::string hash = PasswordHash::make("x", 1).to_string();
  EXPECT_EQ(with_user(before, "ann", hash), "# ours\nann:" + hash + "\nanna:2\n");
  EXPECT_EQ(with_user("bob:1", "ann", hash), "bob:1\nann:" + hash + "\n");
  std::string text = before;
  EXPECT_TRUE(without_user(text, "ann"));
  EXPECT_EQ(text, "# ours\nanna:2\n");
  EXPECT_FALSE(without_user(text, "ann"));
}

TEST(PasswordFile, RefusesNamesThatALineCannotHold) {
  for (const char* name : {"", "a:b", "a\nb", "#a"}) EXPECT_NE(user_name_fault(name), "") << name;
  for (const char* name : {"ann", "ann b", "\xc3\xa4"})
    EXPECT_EQ(user_name_fault(name), "") << name;
}

TEST(PasswordFile, VerifiesWhatMosquittoPasswdWrote) {
  if (!test::has_program("mosquitto_passwd")) GTEST_SKIP() << "mosquitto_passwd is not installed";
  const test::Folder folder;
  ASSERT_EQ(test::run("mosquitto_passwd -c -b " + folder.path("p") + " ann 'se cret'").code, 0);
  ASSERT_EQ(test::run("mosquitto_passwd -b " + folder.path("p") + " bob b").code, 0);
  ASSERT_EQ(test::run("mosquitto_passwd -H sha512 -b " + folder.path("p") + " old o").code, 0);
  const auto file = parse(folder.read("p"));
  EXPECT_EQ(file.size(), 3u);
  EXPECT_TRUE(file.verify("ann", "se cret"));
  EXPECT_TRUE(file.verify("bob", "b"));
  EXPECT_TRUE(file.verify("old", "o"));
  EXPECT_FALSE(file.verify("old", "x"));
  EXPECT_FALSE(file.verify("ann", "b"));
}

}  // namespace
}  // namespace millrace::server
