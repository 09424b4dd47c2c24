#include "core/broker/json_field.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace millrace::broker {
namespace {

using Json = nlohmann::json;

std::string field(std::string_view text, std::string_view pointer) {
  return std::string(json_field(text, pointer).value_or("(none)"));
}

TEST(JsonField, FindsAValueByItsPointer) {
  const std::string text =
      R"( {"a": 1, "b" : {"c": [10, "x,]}", {"d": -2.5e3}]}, "": true, "a/b": 7,
    "m~n": null, "s": "say \"{\" "} )";
  EXPECT_EQ(field(text, "/a"), "1");
  EXPECT_EQ(field(text, "/b/c/0"), "10");
  EXPECT_EQ(field(text, "/b/c/1"), R"("x,]}")");
  EXPECT_EQ(field(text, "/b/c/2/d"), "-2.5e3");
  EXPECT_EQ(field(text, "/b/c/2"), R"({"d": -2.5e3})");
  EXPECT_EQ(field(text, "/"), "true");
  EXPECT_EQ(field(text, "/a~1b"), "7");
  EXPECT_EQ(field(text, "/m~0n"), "null");
  EXPECT_EQ(field(text, "/s"), R"("say \"{\" ")");
  EXPECT_EQ(field(" 42 ", ""), "42");
}

TEST(JsonField, FindsNothingWhereNothingIs) {
  const std::string text = R"({"a": {"b": [1, 2]}, "n": 3})";
  for (const char* pointer : {"/x", "/a/x", "/a/b/2", "/a/b/-", "/a/b/01", "/a/b/x", "/n/a", "/n/0",
                              "/a/b/0/c", "/a/b/99999999999999999999"}) {
    EXPECT_FALSE(json_field(text, pointer)) << pointer;
  }
  for (const char* bad : {"", "  ", "{", "[", "{\"a\"", "{\"a\":", "{\"a\":}", "{\"a\" 1}", "{a:1}",
                          "{\"a", "{\"a\\", "[1,", "nothing", "}", "{\"b\":[,{\"a\":1}"}) {
    EXPECT_FALSE(json_field(bad, "/a")) << bad;
  }
}

TEST(JsonField, TakesPointersAsTheyAreDefined) {
  for (const char* good : {"", "/", "/a", "/a/b", "/a~0b~1c", "//"}) {
    EXPECT_TRUE(is_json_pointer(good)) << good;
  }
  for (const char* bad : {"a", "a/b", "~", "/~", "/~2", "/a~"}) {
    EXPECT_FALSE(is_json_pointer(bad)) << bad;
  }
}

TEST(JsonField, TakesATextThatIsNestedAsDeepAsItIsLong) {
  constexpr std::size_t depth = 1'000'000;
  const std::string open(depth, '[');
  EXPECT_FALSE(json_field(open, "/0/0/0/1"));
  EXPECT_FALSE(json_field("{\"x\":" + open + ",\"a\":1}", "/a"));
  const std::string closed = "{\"x\":" + open + std::string(depth, ']') + ",\"a\":1}";
  EXPECT_EQ(field(closed, "/a"), "1");
}

Json any_json(std::mt19937_64& random, int depth) {
  static const std::vector<std::string> names = {"a", "b", "a/b", "m~n", "", "x\"y", "{"};
  switch (random() % (depth > 0 ? 7 : 5)) {
    case 0:
      return static_cast<int>(random() % 2000) - 1000;
    case 1:
      return static_cast<double>(random() % 1000) / 7;
    case 2:
      return names[random() % names.size()];
    case 3:
      return random() % 2 == 0;
    case 4:
      return nullptr;
    case 5: {
      Json array = Json::array();
      for (std::uint64_t i = random() % 4; i > 0; --i) array.push_back(any_json(random, depth - 1));
      return array;
    }
    default: {
      Json object = Json::object();
      for (std::uint64_t i = random() % 4; i > 0; --i) {
        object[names[random() % 5]] = any_json(random, depth - 1);
      }
      return object;
    }
  }
}

TEST(JsonField, FindsWhatALibraryFinds) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 3000; ++round) {
    const Json json = any_json(random, 5);
    const std::string text = json.dump(random() % 2 == 0 ? -1 : 2);
    const Json values = json.flatten();
    for (const auto& [pointer, value] : values.items()) {
      const auto found = json_field(text, pointer);
      ASSERT_TRUE(found) << pointer << " in " << text;
      const bool is_empty = value.is_null() && *found != "null";  // flatten() says so of {} and []
      ASSERT_TRUE(is_empty || Json::parse(*found) == value) << pointer << " in " << text;
    }
  }
}

// Whatever a publisher sends and a reader asks for, it comes back, within the text.
TEST(JsonField, SurvivesAnyText) {
  std::mt19937_64 random(2);
  static constexpr std::string_view letters = "{}[],:\"\\ a0-/~";
  for (int round = 0; round < 100'000; ++round) {
    std::string text;
    for (std::uint64_t i = random() % 30; i > 0; --i) text += letters[random() % letters.size()];
    std::string pointer;
    for (std::uint64_t i = random() % 4; i > 0; --i) {
      pointer += '/';
      pointer += letters[10 + random() % 2];
    }
    const auto found = json_field(text, pointer);
    if (!found) continue;
    ASSERT_GE(found->data(), text.data());
    ASSERT_LE(found->data() + found->size(), text.data() + text.size());
  }
}

}  // namespace
}  // namespace millrace::broker
