#include "protocol/topic.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "bytes.hpp"

namespace millrace::protocol::test {
namespace {

TEST(Topic, NamesAreAnyTextWithoutWildcards) {
  for (const char* good : {"a", "/", "//", "a/b", "/a", "a/", "$SYS/x", "a b", "A\xC3\xA9"}) {
    EXPECT_TRUE(valid_topic_name(good)) << good;
  }
  for (const char* bad : {"", "+", "#", "a/+", "a/#", "a+", "a#b", "\xFF", "\xED\xA0\x80"}) {
    EXPECT_FALSE(valid_topic_name(bad)) << bad;
  }
  EXPECT_FALSE(valid_topic_name(std::string_view("a\0b", 3)));
  EXPECT_TRUE(valid_topic_name(std::string(65'535, 'a')));
  EXPECT_FALSE(valid_topic_name(std::string(65'536, 'a')));
}

TEST(Topic, FiltersHaveWildcardsOnLevelsOfTheirOwn) {
  for (const char* good : {"#", "+", "/", "a", "a/#", "+/#", "/#", "+/+", "/+", "+/", "a/+/b",
                           "+/a/#", "$SYS/#", "sport/tennis/player1/#"}) {
    EXPECT_TRUE(valid_topic_filter(good)) << good;
  }
  for (const char* bad :
       {"", "a#", "a/b#", "#/", "#/a", "a/#/b", "a+", "+a", "a/+b", "a/b+/c", "##", "++", "\x80"}) {
    EXPECT_FALSE(valid_topic_filter(bad)) << bad;
  }
  EXPECT_FALSE(valid_topic_filter(std::string_view("a\0b", 3)));
  EXPECT_FALSE(valid_topic_filter(std::string(65'536, 'a')));
}

TEST(Topic, LevelsAreCountedAndLimited) {
  EXPECT_EQ(level_count("a"), 1u);
  EXPECT_EQ(level_count("/"), 2u);
  EXPECT_EQ(level_count("a/b/c"), 3u);
  EXPECT_TRUE(valid_topic_name("a/b/c", 3));
  EXPECT_FALSE(valid_topic_name("a/b/c", 2));
  EXPECT_TRUE(valid_topic_filter("a/+/#", 3));
  EXPECT_FALSE(valid_topic_filter("a/+/#", 2));
}

TEST(Topic, ParsesPrefixes) {
  struct Row {
    const char* raw;
    const char* filter;
    const char* group;
    bool latest;
  };
  for (const Row& row :
       {Row{"a/b", "a/b", "", false}, Row{"$SYS/#", "$SYS/#", "", false},
        Row{"$share/g/a/+", "a/+", "g", false}, Row{"$share/g//a", "/a", "g", false},
        Row{"$share/g/$SYS/#", "$SYS/#", "g", false}, Row{"$latest/a/#", "a/#", "", true},
        Row{"$latest//", "/", "", true}, Row{"$latest/$SYS/x", "$SYS/x", "", true},
        Row{"$shared/g/a", "$shared/g/a", "", false}, Row{"$latestx/a", "$latestx/a", "", false},
        Row{"a/$share/g/b", "a/$share/g/b", "", false}}) {
    SCOPED_TRACE(row.raw);
    const auto parsed = parse_filter(row.raw);
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(parsed->filter, row.filter);
    EXPECT_EQ(parsed->share_group, row.group);
    EXPECT_EQ(parsed->shared(), row.group[0] != '\0');
    EXPECT_EQ(parsed->latest, row.latest);
  }
}

TEST(Topic, KeepsTheOptionsOfAPrefixApartFromItsFilter) {
  const auto parsed = parse_filter("$latest;x=1;y=%2F/a/#");
  ASSERT_TRUE(parsed.has_value());
  EXPECT_TRUE(parsed->latest);
  EXPECT_EQ(parsed->options, "x=1;y=%2F");
  EXPECT_EQ(parsed->filter, "a/#");
  EXPECT_EQ(parse_filter("$latest/a")->options, "");
  EXPECT_TRUE(parse_filter("$latest;x=1/a/b", 2).has_value()) << "it is no level";
}

TEST(Topic, KeepsTheCountOfAHistoryApartFromItsFilter) {
  const auto parsed = parse_filter("$history/20/a/#", 2);
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->history, 20u);
  EXPECT_EQ(parsed->filter, "a/#");
  EXPECT_FALSE(parsed->latest);
  EXPECT_EQ(parse_filter("$historyx/20/a")->filter, "$historyx/20/a");
}

TEST(Topic, RefusesMalformedPrefixes) {
  for (const char* bad : {"",
                          "a#",
                          "$share",
                          "$share/",
                          "$share/g",
                          "$share/g/",
                          "$share//a",
                          "$share/+/a",
                          "$share/#/a",
                          "$share/g+/a",
                          "$share/g/a#",
                          "$latest",
                          "$latest/",
                          "$latest/a/#/b",
                          "$latest/$latest/a",
                          "$latest/$latest",
                          "$latest/$share/g/a",
                          "$latest/$share",
                          "$latest;",
                          "$latest;x=1",
                          "$latest;/a",
                          "$latest;x=1/",
                          "$latest;x=+/a",
                          "$latest;x=1/a#",
                          "$latest;x=1/$latest/a",
                          "$latest/$latest;x=1/a",
                          "$latest;x=1/$share/g/a",
                          "$share/g/$latest;x=1/a",
                          "$share/g/$latest/a",
                          "$share/g/$latest",
                          "$share/g/$share/h/a",
                          "$history",
                          "$history/",
                          "$history/5",
                          "$history/5/",
                          "$history/0/a",
                          "$history/-1/a",
                          "$history/1x/a",
                          "$history/4294967296/a",
                          "$history/#",
                          "$history/+/a",
                          "$history/5/a#",
                          "$history/5/$latest/a",
                          "$history/5/$history/5/a",
                          "$latest/$history/5/a",
                          "$latest;x=1/$history/5/a",
                          "$share/g/$history/5/a"}) {
    const auto parsed = parse_filter(bad);
    ASSERT_TRUE(parsed.has_error()) << bad;
    EXPECT_EQ(parsed.error(), ReasonCode::topic_filter_invalid);
  }
}

TEST(Topic, DoesNotCountPrefixesAsLevels) {
  EXPECT_TRUE(parse_filter("$latest/a/b", 2).has_value());
  EXPECT_TRUE(parse_filter("$share/g/a/b", 2).has_value());
  EXPECT_TRUE(parse_filter("$share/g/a/b/c", 2).has_error());
}

TEST(Topic, RecognisesNamesUnderLatest) {
  EXPECT_TRUE(is_latest_topic("$latest"));
  EXPECT_TRUE(is_latest_topic("$latest/a"));
  EXPECT_TRUE(is_latest_topic("$latest;x=1/a"));
  EXPECT_FALSE(is_latest_topic("$latestx"));
  EXPECT_FALSE(is_latest_topic("a/$latest"));
}

TEST(Topic, RecognisesReservedNames) {
  for (const char* reserved :
       {"$SYS", "$SYS/broker/uptime", "$share/g/a", "$latest/a", "$history/5/a"}) {
    EXPECT_TRUE(is_reserved_topic(reserved)) << reserved;
  }
  for (const char* open : {"$SYSTEM", "$other/a", "SYS/a", "a/$SYS"}) {
    EXPECT_FALSE(is_reserved_topic(open)) << open;
  }
}

TEST(Topic, Matches) {
  struct Row {
    const char* filter;
    const char* topic;
    bool match;
  };
  for (const Row& row :
       {Row{"a", "a", true}, Row{"a", "b", false}, Row{"a", "A", false}, Row{"a", "ab", false},
        Row{"ab", "a", false}, Row{"a/b", "a/b", true}, Row{"a/b", "a", false},
        Row{"a", "a/b", false}, Row{"a/", "a", false}, Row{"a", "a/", false},
        Row{"/a", "a", false},  // a level without a name is a level [MQTT-4.7.3-4]
        Row{"#", "a", true}, Row{"#", "a/b/c", true}, Row{"#", "/", true}, Row{"a/#", "a", true},
        Row{"a/#", "a/b/c", true}, Row{"a/#", "ab", false}, Row{"a/b/#", "a", false},
        Row{"+", "a", true}, Row{"+", "a/b", false}, Row{"+", "/a", false}, Row{"+/+", "/a", true},
        Row{"/+", "/a", true}, Row{"a/+", "a", false}, Row{"a/+", "a/", true},
        Row{"a/+", "a/b", true}, Row{"a/+", "a/b/c", false}, Row{"a/+/c", "a/b/c", true},
        Row{"a/+/c", "a/b/d", false}, Row{"+/b/#", "a/b", true}, Row{"+/b/#", "a/c/b", false},
        Row{"+/+/#", "a", false}, Row{"sport/tennis/player1/#", "sport/tennis/player1", true},
        Row{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
        // [MQTT-4.7.2-1]
        Row{"#", "$SYS/x", false}, Row{"+/x", "$SYS/x", false}, Row{"+/#", "$SYS", false},
        Row{"$SYS/#", "$SYS/x", true}, Row{"$SYS/+", "$SYS/x", true}, Row{"$SYS", "$SYS", true},
        Row{"a/#", "a/$b", true}, Row{"a/+", "a/$b", true}}) {
    EXPECT_EQ(matches(row.filter, row.topic), row.match) << row.filter << " on " << row.topic;
  }
}

TEST(Topic, Covers) {
  struct Row {
    const char* wide;
    const char* narrow;
    bool covers;
  };
  for (const Row& row :
       {Row{"#", "a/+/#", true}, Row{"#", "#", true}, Row{"+/#", "#", true}, Row{"#", "+/#", true},
        Row{"+/+/#", "#", false}, Row{"a/#", "a", true}, Row{"a/#", "a/#", true},
        Row{"a/+/#", "a/#", false}, Row{"a/+", "a/#", false}, Row{"a/+", "a/b", true},
        Row{"a/b", "a/+", false}, Row{"+", "a", true}, Row{"a", "a/#", false},
        Row{"a/b", "a", false}, Row{"#", "$SYS/#", false}, Row{"+/#", "$SYS/x", false},
        Row{"$SYS/#", "$SYS/+", true}, Row{"a/#", "b/#", false}}) {
    EXPECT_EQ(covers(row.wide, row.narrow), row.covers) << row.wide << " over " << row.narrow;
  }
}

TEST(Topic, Overlaps) {
  struct Row {
    const char* a;
    const char* b;
    bool overlap;
  };
  for (const Row& row :
       {Row{"#", "a", true}, Row{"a/+", "+/b", true}, Row{"a/+", "b/+", false},
        Row{"a/#", "a", true}, Row{"a/#", "+", true}, Row{"a/+", "a", false},
        Row{"a/b/#", "a/+", true}, Row{"a/b/#", "a", false}, Row{"+/b", "a/c", false},
        Row{"#", "$SYS/#", false}, Row{"+/x", "$SYS/x", false}, Row{"$SYS/#", "$SYS/+/a", true}}) {
    EXPECT_EQ(overlaps(row.a, row.b), row.overlap) << row.a << " and " << row.b;
    EXPECT_EQ(overlaps(row.b, row.a), row.overlap) << row.b << " and " << row.a;
  }
}

// All topics and filters of one to `levels` levels from `words`.
std::vector<std::string> all_texts(const std::vector<std::string>& words, int levels) {
  std::vector<std::string> all = words;
  std::size_t from = 0;
  for (int level = 1; level < levels; ++level) {
    const std::size_t to = all.size();
    for (std::size_t i = from; i < to; ++i) {
      for (const std::string& word : words) all.push_back(all[i] + "/" + word);
    }
    from = to;
  }
  return all;
}

// covers and overlaps agree with matches, for every pair of small filters, over every topic that
// could show a difference.
TEST(Topic, CoversAndOverlapsAgreeWithMatchesOnAllSmallFilters) {
  std::vector<std::string> filters;
  for (const std::string& text : all_texts({"a", "b", "+", "#", "$s"}, 3)) {
    if (valid_topic_filter(text)) filters.push_back(text);
  }
  const std::vector<std::string> topics = all_texts({"a", "b", "x", "$s"}, 4);
  std::vector<std::vector<bool>> matched;
  for (const std::string& filter : filters) {
    auto& row = matched.emplace_back();
    for (const std::string& topic : topics) row.push_back(matches(filter, topic));
  }
  for (std::size_t i = 0; i < filters.size(); ++i) {
    for (std::size_t j = 0; j < filters.size(); ++j) {
      bool all = true;
      bool any = false;
      for (std::size_t t = 0; t < topics.size(); ++t) {
        all = all && (matched[i][t] || !matched[j][t]);
        any = any || (matched[i][t] && matched[j][t]);
      }
      EXPECT_EQ(covers(filters[i], filters[j]), all) << filters[i] << " over " << filters[j];
      EXPECT_EQ(overlaps(filters[i], filters[j]), any) << filters[i] << " and " << filters[j];
    }
  }
}

}  // namespace
}  // namespace millrace::protocol::test
