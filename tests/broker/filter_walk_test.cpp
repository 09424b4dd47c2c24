// The filters that match a topic, met one after the other, also while the index changes.
#include "core/broker/filter_walk.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "core/broker/session.hpp"

namespace millrace::broker {
namespace {

class Filters {
 public:
  void add(const std::string& filter) {
    if (held_.contains(filter)) return;
    held_[filter] = Subscription::make(filter, filter);
    index_.add(filter, held_[filter].get());
  }
  void remove(const std::string& filter) {
    const auto found = held_.find(filter);
    if (found == held_.end()) return;
    index_.remove(filter, found->second.get());
    held_.erase(found);
  }
  ~Filters() {
    for (const auto& [filter, subscription] : held_) index_.remove(filter, subscription.get());
  }

  std::vector<std::string> matching(std::string_view topic) const {
    std::vector<std::string> filters;
    index_.match(topic, [&](const Subscription* one) { filters.emplace_back(one->filter()); });
    std::sort(filters.begin(), filters.end());
    return filters;
  }
  // The next one; "": there is none, or the budget was not enough.
  std::string next(FilterWalk& walk, std::uint32_t budget) const {
    const auto place = walk.next(index_, budget);
    if (place == SubscriptionIndex::no_place) return "";
    EXPECT_EQ(index_.all_at(place).size(), 1u);
    return std::string(index_.all_at(place).front()->filter());
  }

 private:
  SubscriptionIndex index_;
  std::map<std::string, std::unique_ptr<Subscription>> held_;
};

class Words {
 public:
  std::string topic() {
    std::string name = word();
    for (unsigned i = random_() % 4; i > 0; --i) name.append("/").append(word());
    return name.empty() ? "a" : name;
  }
  std::string filter() {
    std::string name = random_() % 3 == 0 ? "+" : word();
    for (unsigned i = random_() % 4; i > 0; --i) {
      name.append("/").append(random_() % 2 == 0 ? "+" : word());
    }
    if (random_() % 3 == 0) name.append("/#");
    if (name.empty()) name = "a";
    return random_() % 20 == 0 ? "#" : name;
  }
  unsigned below(unsigned end) { return static_cast<unsigned>(random_() % end); }

 private:
  const char* word() {
    static constexpr const char* words[] = {"a", "b", "", "$x"};
    return words[random_() % 4];
  }
  std::mt19937 random_{11};
};

TEST(FilterWalk, MeetsEachFilterThatMatchesOnce) {
  Words words;
  for (int round = 0; round < 200; ++round) {
    Filters filters;
    for (int i = 0; i < 60; ++i) filters.add(words.filter());
    const std::string topic = words.topic();
    FilterWalk walk(topic);
    std::vector<std::string> met;
    const std::uint32_t budget = 1 + words.below(5);
    while (!walk.done()) {
      if (std::string filter = filters.next(walk, budget); !filter.empty()) met.push_back(filter);
    }
    std::sort(met.begin(), met.end());
    ASSERT_EQ(met, filters.matching(topic)) << topic;
  }
}

TEST(FilterWalk, MeetsWhatIsThereThroughoutWhileOthersComeAndGo) {
  Words words;
  for (int round = 0; round < 200; ++round) {
    Filters filters;
    std::set<std::string> stays;
    for (int i = 0; i < 20; ++i) stays.insert(words.filter());
    for (const std::string& filter : stays) filters.add(filter);
    const std::string topic = words.topic();
    const std::vector<std::string> wanted = filters.matching(topic);
    FilterWalk walk(topic);
    std::multiset<std::string> met;
    while (!walk.done()) {
      if (std::string filter = filters.next(walk, 1); !filter.empty()) met.insert(filter);
      // The index gives the nodes of those that go to others.
      for (int i = 0; i < 5; ++i) {
        const std::string filter = words.filter();
        if (stays.contains(filter)) continue;
        words.below(2) == 0 ? filters.add(filter) : filters.remove(filter);
      }
    }
    for (const std::string& filter : wanted) {
      ASSERT_EQ(met.count(filter), 1u) << filter << " and the topic " << topic;
    }
  }
}

TEST(FilterWalk, TakesWhatItLooksAtOffTheBudget) {
  Filters filters;
  filters.add("a/b/c/d");
  FilterWalk walk("a/b/c/d");
  int calls = 0;
  for (bool met = false; !met; ++calls) {
    ASSERT_FALSE(walk.done());
    met = filters.next(walk, 2) == "a/b/c/d";
  }
  EXPECT_GE(calls, 3) << "there are five nodes on the way";
}

}  // namespace
}  // namespace millrace::broker
