// mosquitto's acl_file as access.rules.
#include "server/cli/mosquitto_acl.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace millrace::server {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string rules(std::string_view acl) {
  std::string text;
  for (const auto& rule : import_mosquitto_acl(acl).rules) text += rule.dump() + "\n";
  return text;
}

std::string notes(std::string_view acl) {
  std::string text;
  for (const auto& note : import_mosquitto_acl(acl).notes) {
    text += std::to_string(note.line) + " " + note.said + ": " + note.why + "\n";
  }
  return text;
}

TEST(MosquittoAcl, NamesActionsAsTheRulesDo) {
  EXPECT_EQ(rules("user ann\ntopic read a\ntopic write b\ntopic readwrite c\ntopic d\n"),
            R"({"effect":"allow","user":"ann","action":"subscribe","filter":"a"}
{"effect":"allow","user":"ann","action":"publish","filter":"b"}
{"effect":"allow","user":"ann","filter":"c"}
{"effect":"allow","user":"ann","filter":"d"}
)");
}

TEST(MosquittoAcl, LinesBeforeAnyUserAreForClientsWithoutAName) {
  EXPECT_EQ(rules("topic write a\n"),
            R"({"effect":"allow","user":"","action":"publish","filter":"a"})"
            "\n");
}

TEST(MosquittoAcl, DenialsOfAUserComeFirstAndPatternsLast) {
  EXPECT_EQ(rules("pattern write all/#\nuser ann\ntopic write a/#\ntopic deny a/secret\n"),
            R"({"effect":"deny","user":"ann","filter":"a/secret"}
{"effect":"allow","user":"ann","action":"publish","filter":"a/#"}
{"effect":"allow","action":"publish","filter":"all/#"}
)");
}

TEST(MosquittoAcl, PatternsStandForTheClientsOwnTopics) {
  EXPECT_EQ(rules("pattern readwrite devices/%c/#\npattern deny %u/secret\n"),
            R"({"effect":"deny","filter":"%u/secret"}
{"effect":"allow","filter":"devices/%c/#"}
)");
  EXPECT_THAT(notes("user ann\ntopic write a/%u\n"), HasSubstr("means them literally"));
  EXPECT_THAT(notes("topic deny %c\n"), HasSubstr("more is allowed than was"));
  EXPECT_EQ(rules("user ann\ntopic write a/%u\n"), "");
}

TEST(MosquittoAcl, KeepsTheSpacesOfAFilterAndSkipsThoseAround) {
  EXPECT_EQ(rules("  user   ann b  \r\n topic   write   my topic/#  \r\n"),
            R"({"effect":"allow","user":"ann b","action":"publish","filter":"my topic/#"})"
            "\n");
}

TEST(MosquittoAcl, SkipsCommentsAndEmptyLines) {
  EXPECT_EQ(rules("# user ann\n\n   \n#topic read #\n"), "");
  EXPECT_EQ(notes("# user ann\n\n   \n#topic read #\n"), "");
}

TEST(MosquittoAcl, AWordOfAccessAloneIsAFilter) {
  EXPECT_EQ(rules("user ann\ntopic read\n"), R"({"effect":"allow","user":"ann","filter":"read"})"
                                             "\n");
}

TEST(MosquittoAcl, NamesEachLineOfWhichItCannotMakeARule) {
  EXPECT_THAT(notes("user\n"), HasSubstr("1 user: names no user"));
  EXPECT_THAT(notes("\nallow a\n"), HasSubstr("2 allow a: \"allow\" is neither user"));
  EXPECT_THAT(notes("topic my topic\n"), HasSubstr("\"my\" is neither read"));
  EXPECT_THAT(notes("topic read a/#/b\n"), HasSubstr("is not a topic filter"));
  EXPECT_THAT(notes("topic\n"), HasSubstr("is not a topic filter"));
  EXPECT_THAT(notes("topic read $share/g/a\n"), HasSubstr("plain filter"));
  EXPECT_THAT(notes("topic read \xff\n"), HasSubstr("is not UTF-8"));
  EXPECT_EQ(rules("topic my topic\ntopic read a/#/b\ntopic read $share/g/a\n"), "");
}

TEST(MosquittoAcl, SaysThatSubscriptionsMustBeCovered) {
  EXPECT_THAT(notes("user ann\ntopic read a/#\n"), HasSubstr("covers its whole filter"));
  EXPECT_THAT(import_mosquitto_acl("user ann\ntopic read #\ntopic write a\n").notes, IsEmpty());
}

TEST(MosquittoAcl, AUserMayStandTwice) {
  EXPECT_THAT(import_mosquitto_acl("user a\ntopic write x\nuser ab\ntopic write y\nuser a\ntopic "
                                   "write z\n")
                  .rules,
              SizeIs(3));
}

}  // namespace
}  // namespace millrace::server
