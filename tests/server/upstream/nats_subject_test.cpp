#include "server/upstream/nats_subject.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <utility>

#include "protocol/topic.hpp"

namespace millrace::server {
namespace {

std::string subject_of(std::string_view topic) {
  std::string subject;
  EXPECT_EQ(to_subject(topic, subject), NatsName::mapped) << topic;
  return subject;
}

std::string topic_of(std::string_view subject) {
  std::string topic;
  EXPECT_EQ(to_topic(subject, topic), NatsName::mapped) << subject;
  return topic;
}

std::vector<std::string_view> parts(std::string_view text, char separator) {
  std::vector<std::string_view> found;
  for (;;) {
    const auto end = text.find(separator);
    found.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return found;
    text.remove_prefix(end + 1);
  }
}

// What a NATS server takes as one literal subject.
bool is_literal(std::string_view subject) {
  if (subject.empty() || subject.front() == '$') return false;
  const bool plain = std::ranges::all_of(subject, [](char c) {
    return static_cast<unsigned char>(c) > ' ' && c != 0x7F && c != '*' && c != '>';
  });
  return plain &&
         std::ranges::none_of(parts(subject, '.'), [](auto token) { return token.empty(); });
}

// Section "Subjects" of NATS's documentation: `*` is one token, `>` one or more.
bool nats_matches(std::string_view pattern, std::string_view subject) {
  const auto wanted = parts(pattern, '.');
  const auto given = parts(subject, '.');
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (i == given.size()) return false;
    if (wanted[i] == ">") return true;
    if (wanted[i] != "*" && wanted[i] != given[i]) return false;
  }
  return wanted.size() == given.size();
}

// All texts over an alphabet with at most `bytes_max` bytes.
template <class Each>
void for_texts(std::string_view alphabet, std::size_t bytes_max, Each each) {
  std::vector<std::size_t> digits;
  std::string text;
  while (digits.size() <= bytes_max) {
    text.clear();
    for (const std::size_t digit : digits) text += alphabet[digit];
    each(text);
    std::size_t place = 0;
    while (place < digits.size() && ++digits[place] == alphabet.size()) digits[place++] = 0;
    if (place == digits.size()) digits.assign(digits.size() + 1, 0);
  }
}

TEST(NatsSubject, IsAsNatsServerNamesTopicsOfItsOwnMqttClients) {
  const std::pair<const char*, const char*> both[] = {
      {"a", "a"},
      {"a/b", "a.b"},
      {"a/b/c", "a.b.c"},
      {"/a", "/.a"},
      {"a/", "a./"},
      {"/", "/./"},
      {"//", "/././"},
      {"a//b", "a./.b"},
      {"a///b", "a././.b"},
      {"/a/b", "/.a.b"},
      {"a.b", "a//b"},
      {"a/.b", "a.//b"},
      {"a./b", "a//.b"},
      {".", "//"},
      {"..", "////"},
      {"./", "//./"},
      {"/.", "/.//"},
      {"a/b/", "a.b./"},
      {"\xC3\xA4/b", "\xC3\xA4.b"},
  };
  for (const auto& [topic, subject] : both) {
    EXPECT_EQ(subject_of(topic), subject);
    EXPECT_EQ(topic_of(subject), topic);
  }
}

TEST(NatsSubject, EscapesWhatASubjectCannotContain) {
  EXPECT_EQ(subject_of("a b"), "a%20b");
  EXPECT_EQ(subject_of("*"), "%2A");
  EXPECT_EQ(subject_of("a/>"), "a.%3E");
  EXPECT_EQ(subject_of("50%"), "50%25");
  EXPECT_EQ(subject_of("a\tb\r\nPUB c 0"), "a%09b%0D%0APUB%20c%200");
  EXPECT_EQ(subject_of("a\x7F"), "a%7F");
}

TEST(NatsSubject, TakesEscapesOfOthersAsTheyAre) {
  EXPECT_EQ(topic_of("50%"), "50%");
  EXPECT_EQ(topic_of("%"), "%");
  EXPECT_EQ(topic_of("%4"), "%4");
  EXPECT_EQ(topic_of("%41"), "%41");  // an A needs none
  EXPECT_EQ(topic_of("%2a"), "%2a");  // as to_subject() writes none
  EXPECT_EQ(topic_of("%24SYS.a"), "%24SYS/a");
}

TEST(NatsSubject, RefusesNamesOfNatsItself) {
  std::string name = "unchanged";
  EXPECT_EQ(to_subject("$JS/API/STREAM/DELETE/x", name), NatsName::reserved);
  EXPECT_EQ(to_subject("$", name), NatsName::reserved);
  EXPECT_EQ(to_topic("$SYS.REQ.SERVER.PING", name), NatsName::reserved);
  EXPECT_TRUE(subjects_of("$JS/#").empty());
  EXPECT_EQ(name, "unchanged");
  EXPECT_EQ(subject_of("a/$b"), "a.$b");
}

TEST(NatsSubject, RefusesSubjectsThatAreNoTopics) {
  std::string topic = "unchanged";
  for (const std::string_view subject :
       {"", ".", "a.", ".a", "a..b", "a/b", "/", "a.///", "a.+.b", "#", "a.b#", "\xFF", "a.%00"}) {
    EXPECT_EQ(to_topic(subject, topic), NatsName::no_topic) << subject;
  }
  EXPECT_EQ(to_topic(std::string(65'536, 'x'), topic), NatsName::no_topic);
  EXPECT_EQ(topic, "unchanged");
}

TEST(NatsSubject, RefusesTopicsThatBecomeTooLong) {
  std::string subject;
  const std::string longest(subject_bytes_max, 'x');
  EXPECT_EQ(subject_of(longest), longest);
  EXPECT_EQ(to_subject(longest + "x", subject), NatsName::too_long);
  EXPECT_EQ(to_subject(std::string(65'535, 'x'), subject), NatsName::too_long);
  EXPECT_EQ(to_subject(std::string(subject_bytes_max / 3 + 1, ' '), subject), NatsName::too_long);
  EXPECT_TRUE(subjects_of(longest + "x").empty());
}

TEST(NatsSubject, MakesTwoSubjectsOfAFilterThatCoversItsParent) {
  using Subjects = std::vector<std::string>;
  EXPECT_EQ(subjects_of("a/#"), (Subjects{"a", "a.>"}));
  EXPECT_EQ(subjects_of("a/+/#"), (Subjects{"a.*", "a.*.>"}));
  EXPECT_EQ(subjects_of("#"), (Subjects{">"}));
  EXPECT_EQ(subjects_of("/#"), (Subjects{"/.>"}));
  EXPECT_EQ(subjects_of("a/+"), (Subjects{"a.*"}));
  EXPECT_EQ(subjects_of("a b/*.>"), (Subjects{"a%20b.%2A//%3E"}));
}

TEST(NatsSubject, BringsEachTopicBackAndMakesEachALiteral) {
  std::size_t count = 0;
  for_texts("a/.%*> 2", 6, [&](const std::string& topic) {
    if (!protocol::valid_topic_name(topic)) return;
    ++count;
    const std::string subject = subject_of(topic);
    ASSERT_TRUE(is_literal(subject)) << topic << " is " << subject;
    ASSERT_EQ(topic_of(subject), topic) << subject;
  });
  EXPECT_EQ(count, 299'592u);
}

TEST(NatsSubject, BringsTopicsOfEveryByteBack) {
  std::mt19937 random(15);
  std::string topic;
  for (int i = 0; i < 100'000; ++i) {
    topic.clear();
    const std::size_t bytes = 1 + random() % 40;
    while (topic.size() < bytes) {
      constexpr std::string_view often = "//..%%*>+$ 0A2";
      const auto other = static_cast<char>(1 + random() % 127);
      topic += random() % 2 == 0 ? often[random() % often.size()] : other;
    }
    if (!protocol::valid_topic_name(topic) || topic.front() == '$') continue;
    const std::string subject = subject_of(topic);
    ASSERT_TRUE(is_literal(subject)) << subject;
    ASSERT_EQ(topic_of(subject), topic) << subject;
  }
}

// What comes in by a subject goes out by one from which the same topic comes back.
TEST(NatsSubject, MakesValidTopicsOfSubjectsAlone) {
  for_texts("a/.%2A*", 6, [&](const std::string& subject) {
    std::string topic, again;
    if (to_topic(subject, topic) != NatsName::mapped) return;
    ASSERT_TRUE(protocol::valid_topic_name(topic)) << subject;
    ASSERT_EQ(topic_of(subject_of(topic)), topic) << subject;
  });
}

TEST(NatsSubject, CoversByItsSubjectsWhatTheFilterCoversAndNothingTwice) {
  std::vector<std::string> topics, filters;
  for_texts("a/.", 4, [&](const std::string& topic) {
    if (protocol::valid_topic_name(topic)) topics.push_back(topic);
  });
  for_texts("a/.+#", 5, [&](const std::string& filter) {
    if (protocol::valid_topic_filter(filter)) filters.push_back(filter);
  });
  ASSERT_GT(filters.size(), 500u);
  for (const std::string& filter : filters) {
    const auto subjects = subjects_of(filter);
    for (const std::string& topic : topics) {
      const std::string subject = subject_of(topic);
      const auto matching = std::ranges::count_if(
          subjects, [&](const std::string& one) { return nats_matches(one, subject); });
      ASSERT_EQ(matching, protocol::matches(filter, topic) ? 1 : 0) << filter << " and " << topic;
    }
  }
}

}  // namespace
}  // namespace millrace::server
