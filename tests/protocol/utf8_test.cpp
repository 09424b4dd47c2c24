#include "protocol/utf8.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace millrace::protocol::test {
namespace {

using namespace std::string_literals;

const std::vector<std::string> well_formed = {
    "",
    "a",
    "\x7F",
    "\x01",              // control characters are only advised against
    "\xC2\x80",          // U+0080, the first of two bytes
    "\xDF\xBF",          // U+07FF
    "\xE0\xA0\x80",      // U+0800
    "\xED\x9F\xBF",      // U+D7FF, before the surrogates
    "\xEE\x80\x80",      // U+E000, after them
    "\xEF\xBB\xBF",      // U+FEFF is a character like any other [MQTT-1.5.4-3]
    "\xEF\xBF\xBF",      // U+FFFF
    "\xF0\x90\x80\x80",  // U+10000
    "\xF4\x8F\xBF\xBF",  // U+10FFFF
    "A\xF0\xAA\x9B\x94",
};

const std::vector<std::string> malformed = {
    "\x80",  // continues nothing
    "\xBF",
    "\xC0\xAF",  // '/' in two bytes
    "\xC1\xBF",
    "\xC0\x80",  // U+0000 in two bytes
    "\xC2",      // cut off
    "\xC2\x41",
    "\xE0\x80\x80",  // overlong
    "\xE0\x9F\xBF",
    "\xE2\x82",
    "\xE2\x28\xA1",
    "\xED\xA0\x80",      // U+D800
    "\xED\xBF\xBF",      // U+DFFF
    "\xF0\x80\x80\x80",  // overlong
    "\xF0\x8F\xBF\xBF",
    "\xF0\x90\x80",
    "\xF4\x90\x80\x80",  // U+110000
    "\xF5\x80\x80\x80",
    "\xFE",
    "\xFF",
};

// Embeds the piece at every position in texts of all lengths around the steps of 16, 8 and 4 bytes.
template <class Check>
void embed_everywhere(const std::string& piece, Check&& check) {
  for (std::size_t length = 0; length <= 40; ++length) {
    for (std::size_t at = 0; at <= length; ++at) {
      std::string text(length, 'x');
      text.insert(at, piece);
      check(text);
    }
  }
}

TEST(Utf8, AcceptsWellFormedTextWhereverItStands) {
  for (const std::string& piece : well_formed) {
    embed_everywhere(piece, [](const std::string& text) {
      EXPECT_TRUE(valid_utf8(text));
      EXPECT_TRUE(valid_utf8_payload(text));
      EXPECT_EQ(check_topic_bytes(text), TopicBytes::valid);
    });
  }
}

TEST(Utf8, RejectsMalformedTextWhereverItStands) {
  for (const std::string& piece : malformed) {
    embed_everywhere(piece, [](const std::string& text) {
      EXPECT_FALSE(valid_utf8(text));
      EXPECT_FALSE(valid_utf8_payload(text));
      EXPECT_EQ(check_topic_bytes(text), TopicBytes::bad_utf8);
    });
  }
}

TEST(Utf8, AcceptsAnEmptyTextWithANullPointer) {
  EXPECT_TRUE(valid_utf8(std::string_view()));
  EXPECT_TRUE(valid_utf8_payload(std::string_view()));
  EXPECT_EQ(check_topic_bytes(std::string_view()), TopicBytes::valid);
}

TEST(Utf8, RejectsNulInTextButNotInPayloads) {
  embed_everywhere("\0"s, [](const std::string& text) {
    EXPECT_FALSE(valid_utf8(text));
    EXPECT_TRUE(valid_utf8_payload(text));
    EXPECT_EQ(check_topic_bytes(text), TopicBytes::bad_utf8);
  });
}

TEST(Utf8, FindsWildcardsInTopicsWhereverTheyStand) {
  for (const char* piece : {"+", "#", "+#", "\xC3\xA9+", "#\xC3\xA9"}) {
    embed_everywhere(piece, [](const std::string& text) {
      EXPECT_EQ(check_topic_bytes(text), TopicBytes::has_wildcard);
      EXPECT_TRUE(valid_utf8(text));
    });
  }
}

TEST(Utf8, TakesEveryOtherAsciiCharacterInTopics) {
  for (char c = 1; c < 0x7F; ++c) {
    if (c == '+' || c == '#') continue;
    embed_everywhere(std::string(1, c), [](const std::string& text) {
      EXPECT_EQ(check_topic_bytes(text), TopicBytes::valid);
    });
  }
}

TEST(Utf8, CountsExactlyTheScalarValuesThatUnicodeHas) {
  // Every sequence of two bytes; of those with three or four, every first two with a valid tail.
  unsigned good = 0;
  for (unsigned lead = 0x80; lead < 0x100; ++lead) {
    for (unsigned second = 0; second < 0x100; ++second) {
      const std::string two{static_cast<char>(lead), static_cast<char>(second)};
      if (valid_utf8(two)) good += 1;
      if (second < 0x80 || valid_utf8(two)) continue;
      if (valid_utf8(two + "\x80")) good += 64;
      if (valid_utf8(two + "\x80\x80")) good += 4096;
    }
  }
  EXPECT_EQ(good, 0x110000u - 0x80 - 2048);
}

}  // namespace
}  // namespace millrace::protocol::test
