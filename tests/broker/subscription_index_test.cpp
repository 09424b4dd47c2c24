#include "core/broker/subscription_index.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>

#include "core/broker/session.hpp"
#include "protocol/topic.hpp"

namespace millrace::broker {
namespace {

std::set<Subscription*> match(const SubscriptionIndex& index, std::string_view topic) {
  std::set<Subscription*> found;
  index.match(topic, [&](Subscription* subscription) {
    EXPECT_TRUE(found.insert(subscription).second) << "visited twice";
  });
  return found;
}

TEST(SubscriptionIndex, MatchesAsTheSpecificationSays) {
  struct Case {
    const char* filter;
    const char* topic;
    bool matches;
  };
  for (const Case& one :
       {Case{"a/b", "a/b", true}, Case{"a/b", "a/c", false}, Case{"a/#", "a", true},
        Case{"a/#", "a/b/c", true}, Case{"#", "a", true}, Case{"#", "$SYS/a", false},
        Case{"+/a", "$SYS/a", false}, Case{"$SYS/#", "$SYS/a", true}, Case{"+", "a", true},
        Case{"+", "/a", false}, Case{"/+", "/a", true}, Case{"+/+", "/a", true},
        Case{"a/+/c", "a//c", true}, Case{"a/+", "a", false}}) {
    SubscriptionIndex index;
    const auto subscription = Subscription::make(one.filter, one.filter);
    index.add(one.filter, subscription.get());
    EXPECT_EQ(!match(index, one.topic).empty(), one.matches) << one.filter << " " << one.topic;
  }
}

TEST(SubscriptionIndex, AgreesWithMatchingEachFilterThroughRandomChanges) {
  std::mt19937 random(7);
  const auto word = [&] {
    const char* words[] = {"a", "b", "", "$x", "c"};
    std::string name = words[random() % 5];
    for (unsigned i = random() % 4; i > 0; --i) name.append("/").append(words[random() % 5]);
    return name;
  };
  const auto filter = [&] {
    std::string made = word();
    if (random() % 2 == 0) made.replace(0, std::min(made.find('/'), made.size()), "+");
    if (random() % 3 == 0) made.append("/#");
    return made;
  };
  SubscriptionIndex index;
  std::map<std::unique_ptr<Subscription>, std::string> held;
  for (int step = 0; step < 5000; ++step) {
    if (random() % 2 == 0 || held.empty()) {
      std::string name = filter();
      auto made = Subscription::make(name, name);
      index.add(name, made.get());
      held.emplace(std::move(made), std::move(name));
    } else {
      auto at = std::next(held.begin(), static_cast<long>(random() % held.size()));
      index.remove(at->second, at->first.get());
      held.erase(at);
    }
    const std::string topic = word();
    std::set<Subscription*> expected;
    for (const auto& [subscription, name] : held) {
      if (protocol::matches(name, topic)) expected.insert(subscription.get());
    }
    ASSERT_EQ(match(index, topic), expected) << "topic " << topic << " at step " << step;
  }
  for (const auto& [subscription, name] : held) index.remove(name, subscription.get());
  EXPECT_EQ(index.size(), 0u);
  EXPECT_EQ(index.node_count(), 2u) << "the root and the null node";
}

// Levels that a node holds by itself and that it does not, which differ in their last byte.
TEST(SubscriptionIndex, TellsLevelsOfAnyLengthApart) {
  SubscriptionIndex index;
  std::map<std::string, std::unique_ptr<Subscription>> held;
  for (const std::size_t bytes : {0u, 1u, 22u, 23u, 24u, 31u, 1000u, 65'000u}) {
    for (const char last : {'a', 'b'}) {
      const std::string filter = "x/" + std::string(bytes, '-') + last + "/y";
      index.add(filter, (held[filter] = Subscription::make(filter, filter)).get());
    }
  }
  const std::size_t nodes = index.node_count();
  for (const auto& [filter, subscription] : held) {
    EXPECT_EQ(match(index, filter), std::set{subscription.get()}) << filter.size();
  }
  for (const auto& [filter, subscription] : held) index.remove(filter, subscription.get());
  EXPECT_EQ(index.node_count(), 2u) << "the root and the null node";
  for (const auto& [filter, subscription] : held) index.add(filter, subscription.get());
  EXPECT_EQ(index.node_count(), nodes);
  for (const auto& [filter, subscription] : held) {
    EXPECT_EQ(match(index, filter), std::set{subscription.get()}) << filter.size();
  }
}

TEST(SubscriptionIndex, ForgetsThoseOfOneFilterInEveryOrder) {
  std::array<std::size_t, 4> order{0, 1, 2, 3};
  do {
    SubscriptionIndex index;
    std::array<std::unique_ptr<Subscription>, 4> held;
    std::set<Subscription*> expected;
    for (auto& one : held) {
      one = Subscription::make("a/+", "a/+");
      index.add("a/+", one.get());
      expected.insert(one.get());
    }
    for (const std::size_t gone : order) {
      index.remove("a/+", held[gone].get());
      expected.erase(held[gone].get());
      ASSERT_EQ(match(index, "a/b"), expected);
    }
    ASSERT_EQ(index.node_count(), 2u);
  } while (std::ranges::next_permutation(order).found);
}

TEST(SubscriptionIndex, SaysWhetherAChangeTouchesATopic) {
  SubscriptionIndex index;
  const auto one = Subscription::make("a/+", "a/+");
  const auto two = Subscription::make("b/#", "b/#");
  index.add("a/+", one.get());
  const std::uint64_t version = index.version();
  index.add("b/#", two.get());
  EXPECT_FALSE(index.changed_since(version, "a/x"));
  EXPECT_TRUE(index.changed_since(version, "b/x"));
  index.touch("a/x");
  EXPECT_TRUE(index.changed_since(version, "a/x"));
  for (int i = 0; i < 1000; ++i) index.touch("other");
  EXPECT_TRUE(index.changed_since(version, "unrelated")) << "too far behind to tell";
}

}  // namespace
}  // namespace millrace::broker
