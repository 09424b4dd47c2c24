#include "core/shm/client/wildcards.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace millrace::local {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

TEST(Wildcards, OfMqttAreLeftAsTheyAre) {
  for (const char* filter : {"", "a", "a/+/#", "*", "a/**", "/"}) {
    EXPECT_EQ(to_mqtt_filter(filter, Wildcards::mqtt), filter);
  }
}

TEST(Wildcards, OfStarsBecomeThoseOfMqtt) {
  struct Case {
    const char* given;
    const char* mqtt;
  };
  const Case cases[] = {
      {"*", "+"},      {"**", "#"},  {"a/*/b", "a/+/b"}, {"a/**", "a/#"},  {"*/*", "+/+"},
      {"*/**", "+/#"}, {"/*", "/+"}, {"*/", "+/"},       {"a//*", "a//+"}, {"+/#", "+/#"},
  };
  for (const Case& one : cases) EXPECT_EQ(to_mqtt_filter(one.given, Wildcards::star), one.mqtt);
}

// Only a whole level is a wildcard, and `**` only the last one.
TEST(Wildcards, OfStarsAreOrdinaryCharactersElsewhere) {
  for (const char* filter : {"", "/", "a/b", "a*", "*a", "a*b/c", "**/a", "a/**/b", "***", "**a"}) {
    EXPECT_EQ(to_mqtt_filter(filter, Wildcards::star), filter);
  }
}

TEST(StarWarning, NamesTheFilterWhoseStarMqttTakesLiterally) {
  for (const char* filter : {"*", "**", "a/*", "*/a", "a/**/b"}) {
    EXPECT_THAT(star_warning({"a/+", filter, "b/#"}), HasSubstr(std::string(filter) + " is"));
  }
}

TEST(StarWarning, IsEmptyWhereNoLevelIsAStar) {
  EXPECT_THAT(star_warning({}), IsEmpty());
  EXPECT_THAT(star_warning({"", "/", "a*", "*a/b", "a/b*c", "***", "+/#"}), IsEmpty());
}

}  // namespace
}  // namespace millrace::local
