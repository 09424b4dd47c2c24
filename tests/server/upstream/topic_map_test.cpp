#include "server/upstream/topic_map.hpp"

#include <gtest/gtest.h>

namespace millrace::server {
namespace {

UpstreamRule rule(Direction direction, std::string filter, std::string local = "",
                  std::string remote = "") {
  UpstreamRule made;
  made.direction = direction;
  made.filter = std::move(filter);
  made.local_prefix = std::move(local);
  made.remote_prefix = std::move(remote);
  return made;
}

TEST(TopicMap, ReplacesTheOnePrefixByTheOther) {
  const TopicMap map({rule(Direction::both, "sensor/#", "site1/", "eu/site1/")});
  const TopicMap::Rule* out = map.outbound("site1/sensor/a");
  ASSERT_NE(out, nullptr);
  EXPECT_EQ(TopicMap::to_remote(*out, "site1/sensor/a"), "eu/site1/sensor/a");
  const TopicMap::Rule* in = map.inbound("eu/site1/sensor/b/c");
  ASSERT_NE(in, nullptr);
  EXPECT_EQ(TopicMap::to_local(*in, "eu/site1/sensor/b/c"), "site1/sensor/b/c");
}

TEST(TopicMap, LeavesOutWhatNoRuleOfThatDirectionCovers) {
  const TopicMap map({rule(Direction::out, "a/#"), rule(Direction::in, "b/#")});
  EXPECT_NE(map.outbound("a/x"), nullptr);
  EXPECT_EQ(map.outbound("b/x"), nullptr);
  EXPECT_EQ(map.inbound("a/x"), nullptr);
  EXPECT_NE(map.inbound("b/x"), nullptr);
  EXPECT_EQ(map.outbound("$SYS/broker/uptime"), nullptr);
}

TEST(TopicMap, TakesAFilterOfAllToLeaveSysAlone) {
  const TopicMap map({rule(Direction::both, "#")});
  EXPECT_NE(map.outbound("a"), nullptr);
  EXPECT_EQ(map.outbound("$SYS/broker/uptime"), nullptr);
  EXPECT_EQ(map.inbound("$SYS/broker/uptime"), nullptr);
}

// `a/#` covers `a` [MQTT 5.0, 4.7.1.2].
TEST(TopicMap, RenamesTheTopicThatIsThePrefixItself) {
  const TopicMap map({rule(Direction::out, "#", "a/", "b/")});
  EXPECT_EQ(TopicMap::to_remote(*map.outbound("a"), "a"), "b");
  const TopicMap without({rule(Direction::out, "#", "a/", "")});
  EXPECT_EQ(TopicMap::to_remote(*without.outbound("a"), "a"), "") << "it has no name there";
}

TEST(TopicMap, HasNoNameForATopicThatBecomesTooLong) {
  const TopicMap map({rule(Direction::out, "#", "", "123456/")});
  const std::string longest(65'535, 'x');
  EXPECT_EQ(TopicMap::to_remote(*map.outbound(longest), longest), "");
  const std::string fits(65'535 - 7, 'x');
  EXPECT_EQ(TopicMap::to_remote(*map.outbound(fits), fits).size(), 65'535u);
}

TEST(TopicMap, KnowsHowMuchLongerANameMayBecome) {
  const TopicMap map({rule(Direction::out, "a/#", "", "1234/"), rule(Direction::in, "b", "x/")});
  EXPECT_EQ(map.longer_by_max(), 5u);
}

}  // namespace
}  // namespace millrace::server
