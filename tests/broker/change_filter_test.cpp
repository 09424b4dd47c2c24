#include "core/broker/change_filter.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <string_view>

namespace millrace::broker {
namespace {

ComparedValue value(const ShapeFields& shape, std::string_view payload) {
  return compared_value(shape,
                        {reinterpret_cast<const std::uint8_t*>(payload.data()), payload.size()});
}
bool changes(const ShapeFields& shape, std::string_view sent, std::string_view now) {
  return is_change(shape, value(shape, sent), value(shape, now));
}
ShapeFields by(double delta, Changes kind = Changes::by) {
  ShapeFields shape;
  shape.changes = kind;
  shape.delta = delta;
  return shape;
}
ShapeFields unequal(std::string field = "") {
  ShapeFields shape;
  shape.changes = Changes::unequal;
  shape.field = std::move(field);
  return shape;
}

TEST(ChangeFilter, ComparesPayloadsAsTheyAre) {
  EXPECT_FALSE(changes(unequal(), "on", "on"));
  EXPECT_TRUE(changes(unequal(), "on", "off"));
  EXPECT_TRUE(changes(unequal(), "1", "1.0")) << "they are texts";
  EXPECT_FALSE(changes(unequal(), "", ""));
}

TEST(ChangeFilter, ComparesNumbersByTheirDifference) {
  EXPECT_FALSE(changes(by(0.5), "20.3", "20.7"));
  EXPECT_TRUE(changes(by(0.5), "20.3", "20.8")) << "not quite half a degree in binary";
  EXPECT_TRUE(changes(by(0.5), "20.3", "19.8"));
  EXPECT_TRUE(changes(by(1), "-1", " 1\n"));
  EXPECT_FALSE(changes(by(1), "1e3", "1000"));
}

TEST(ChangeFilter, ComparesNumbersByPerCentOfWhatWasSent) {
  EXPECT_FALSE(changes(by(5, Changes::by_percent), "100", "104"));
  EXPECT_TRUE(changes(by(5, Changes::by_percent), "100", "105"));
  EXPECT_TRUE(changes(by(5, Changes::by_percent), "-100", "-95"));
  EXPECT_FALSE(changes(by(5, Changes::by_percent), "0", "0"));
  EXPECT_TRUE(changes(by(5, Changes::by_percent), "0", "0.001"));
}

TEST(ChangeFilter, TakesWhatIsNoNumberForAText) {
  for (const char* text : {"off", "nan", "inf", "-inf", "1e999", "12 C", "0x10", "", "[1]"}) {
    EXPECT_FALSE(changes(by(1e12), text, text)) << text;
    EXPECT_TRUE(changes(by(1e12), text, "1")) << text;
    EXPECT_TRUE(changes(by(1e12), "1", text)) << text;
    EXPECT_TRUE(changes(by(1e12), text, "another")) << text;
  }
}

TEST(ChangeFilter, TakesTheLargestNumbersThereAre) {
  EXPECT_TRUE(changes(by(1), "1e308", "-1e308"));
  EXPECT_FALSE(changes(by(1), "1e308", "1e308"));
  EXPECT_TRUE(changes(by(1e12, Changes::by_percent), "1e-300", "1e300"));
  EXPECT_FALSE(changes(by(std::numeric_limits<double>::max()), "1", "2"));
}

TEST(ChangeFilter, ComparesAFieldAlone) {
  EXPECT_FALSE(changes(unequal("/s"), R"({"t":1,"s":"on"})", R"({"t":2,"s":"on"})"));
  EXPECT_TRUE(changes(unequal("/s"), R"({"t":1,"s":"on"})", R"({"t":1,"s":"off"})"));
  ShapeFields shape = by(1);
  shape.field = "/t/0";
  EXPECT_FALSE(changes(shape, R"({"t":[1.5]})", R"({"t":[2.4],"x":1})"));
  EXPECT_TRUE(changes(shape, R"({"t":[1.5]})", R"({"t":["2.5"]})")) << "a number, though in quotes";
}

TEST(ChangeFilter, ComparesThePayloadWhereTheFieldIsNot) {
  EXPECT_FALSE(changes(unequal("/s"), R"({"t":1})", R"({"t":1})"));
  EXPECT_TRUE(changes(unequal("/s"), R"({"t":1})", R"({"t":2})"));
  EXPECT_TRUE(changes(unequal("/s"), R"({"s":1})", R"({"t":1})"));
}

TEST(ChangeFilter, ReadsNoFurtherThanAPayloadOf64KiB) {
  const std::string deep(2'000'000, '[');
  EXPECT_FALSE(changes(unequal("/0/0"), deep, deep));
  EXPECT_TRUE(changes(unequal("/0/0"), deep, deep + "1"));
  const std::string padding(70'000, ' ');
  EXPECT_TRUE(changes(unequal("/s"), R"({"s":1,"t":1})" + padding, R"({"s":1,"t":2})" + padding));
}

ConflationKey key(std::uint32_t subscription, std::uint64_t topic) {
  return {subscription, topic};
}

TEST(SentValues, KnowWhatEachTopicOfEachSubscriptionWasSentLast) {
  SentValues sent;
  const ShapeFields shape = by(1);
  sent.note(key(1, 1), {value(shape, "1"), 10}, 100);
  sent.note(key(1, 2), {value(shape, "2"), 20}, 100);
  sent.note(key(2, 1), {value(shape, "3"), 30}, 100);
  sent.note(key(1, 1), {value(shape, "4"), 40}, 100);
  EXPECT_EQ(sent.size(), 3u);
  EXPECT_EQ(sent.find(key(1, 1))->value.number, 4);
  EXPECT_EQ(sent.find(key(1, 1))->at_ns, 40);
  EXPECT_EQ(sent.find(key(2, 1))->value.number, 3);
  EXPECT_EQ(sent.find(key(2, 2)), nullptr);
  EXPECT_EQ(sent.take_change(), 3);
  sent.forget(1);
  EXPECT_EQ(sent.find(key(1, 2)), nullptr);
  EXPECT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent.take_change(), -2);
  sent.clear();
  EXPECT_TRUE(sent.empty());
}

TEST(SentValues, LearnNoMoreTopicsThanTheyMay) {
  SentValues sent;
  const ShapeFields shape = by(1);
  for (std::uint64_t topic = 0; topic < 20; ++topic) {
    sent.note(key(1, topic), {value(shape, "1"), 1}, 10);
  }
  EXPECT_EQ(sent.size(), 10u);
  sent.note(key(1, 5), {value(shape, "2"), 2}, 10);
  EXPECT_EQ(sent.find(key(1, 5))->value.number, 2) << "one that it knows goes on";
}

}  // namespace
}  // namespace millrace::broker
