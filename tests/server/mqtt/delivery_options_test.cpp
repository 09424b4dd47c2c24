#include "server/mqtt/delivery_options.hpp"

#include <gtest/gtest.h>

#include <string>

namespace millrace::server {
namespace {

using broker::Mode;

ParsedWish of_property(std::string name, std::string value) {
  protocol::Properties properties;
  properties.user_properties = {{std::move(name), std::move(value)}};
  return parse_delivery_wish(properties);
}

TEST(DeliveryOptions, RefuseValuesThatMeanNothingAndSayWhatOnesWould) {
  EXPECT_EQ(of_property("delivery", "sometimes").fault,
            "delivery must be every, adaptive or latest");
  for (const char* rate : {"0", "-1", "nan", "inf", "1e400", "fast", "1 ", ""}) {
    EXPECT_EQ(of_property("max-rate-hz", rate).fault, "max-rate-hz must be a number above 0")
        << rate;
  }
  for (const char* budget : {"0", "-1", "1.5", "4294967296", "nan", " 1", ""}) {
    EXPECT_EQ(of_property("budget-bytes-per-s", budget).fault,
              "budget-bytes-per-s must be a whole number above 0")
        << budget;
  }
}

TEST(DeliveryOptions, RefuseFiltersThatMeanNothing) {
  for (const char* delta : {"0", "-1", "nan", "inf", "-nan", "1e999", "%", "0%", "5%%", "a", ""}) {
    EXPECT_EQ(of_property("delta", delta).fault, "delta must be a number above 0, or one with %")
        << delta;
  }
  for (const char* field : {"temperature", "/a~", "~", "/~2"}) {
    EXPECT_EQ(of_property("field", field).fault,
              "field must be a JSON pointer, of 256 bytes at most")
        << field;
  }
  EXPECT_NE(of_property("field", "/" + std::string(256, 'a')).fault, "");
  EXPECT_NE(of_property("unchanged", "drop").fault, "");
  for (const char* heartbeat : {"0", "-1", "1.5", "4294967296"}) {
    EXPECT_EQ(of_property("heartbeat-s", heartbeat).fault,
              "heartbeat-s must be a whole number above 0")
        << heartbeat;
  }
}

TEST(DeliveryOptions, TakeALeastDifferenceOrOneInPerCentWhicheverIsSaidLast) {
  EXPECT_EQ(of_property("delta", "0.5").wish.delta, 0.5);
  EXPECT_EQ(of_property("delta", "5%").wish.delta_percent, 5);
  DeliveryWish wish;
  wish.delta = 1;
  const DeliveryWish both = parse_prefix_options("delta=2%25", wish).wish;
  EXPECT_FALSE(both.delta);
  EXPECT_EQ(both.delta_percent, 2);
}

TEST(DeliveryOptions, TakeTicksOfAHundredthOfASecondToAnHour) {
  EXPECT_EQ(of_property("tick-ms", "10").wish.tick_ms, 10u);
  EXPECT_EQ(of_property("tick-ms", "3600000").wish.tick_ms, 3'600'000u);
  for (const char* tick : {"0", "9", "3600001", "-100", "1e3", ""}) {
    EXPECT_EQ(of_property("tick-ms", tick).fault,
              "tick-ms must be a whole number from 10 to 3600000")
        << tick;
  }
}

TEST(DeliveryOptions, TakeHistoryOfOneValueOrMore) {
  EXPECT_EQ(of_property("history", "100").wish.history, 100u);
  EXPECT_EQ(parse_prefix_options("history=3", {}).wish.history, 3u);
  for (const char* history : {"0", "-1", "1.5", "4294967296", ""}) {
    EXPECT_EQ(of_property("history", history).fault, "history must be a whole number above 0");
  }
}

TEST(DeliveryOptions, TakeWeightsFromOneToAHundred) {
  EXPECT_EQ(of_property("weight", "100").wish.weight, 100u);
  for (const char* weight : {"0", "101", "-1", "1.5", ""}) {
    EXPECT_EQ(of_property("weight", weight).fault, "weight must be a whole number from 1 to 100");
  }
  broker::ShapeFields fields;
  fields.weight = 50;
  EXPECT_EQ(granted_text(Mode::latest, broker::make_shape(fields).get()),
            "delivery=latest;weight=50");
}

TEST(DeliveryOptions, NameAFieldInAPrefixWithoutASlash) {
  EXPECT_EQ(parse_prefix_options("field=%2Fa%2Fb%3Bc", {}).wish.field, "/a/b;c");
  EXPECT_NE(parse_prefix_options("field=%2F%FF", {}).fault, "") << "it is no UTF-8";
}

TEST(DeliveryOptions, AreReadFromUserPropertiesThatLeaveOthersAlone) {
  protocol::Properties properties;
  properties.user_properties = {
      {"x", "y"}, {"delivery", "latest"}, {"max-rate-hz", "0.5"}, {"budget-bytes-per-s", "20000"}};
  const ParsedWish parsed = parse_delivery_wish(properties);
  EXPECT_EQ(parsed.fault, "");
  EXPECT_TRUE(parsed.wish.is_any());
  EXPECT_EQ(parsed.wish.mode, Mode::latest);
  EXPECT_EQ(parsed.wish.max_rate_hz, 0.5);
  EXPECT_EQ(parsed.wish.budget_bytes_per_s, 20'000u);
  EXPECT_FALSE(of_property("x", "y").wish.is_any());
}

TEST(DeliveryOptions, OfAPrefixStandAboveThoseOfThePacket) {
  DeliveryWish wish;
  wish.max_rate_hz = 1;
  wish.budget_bytes_per_s = 1000;
  const ParsedWish parsed = parse_prefix_options("max-rate-hz=2", wish);
  EXPECT_EQ(parsed.fault, "");
  EXPECT_EQ(parsed.wish.max_rate_hz, 2);
  EXPECT_EQ(parsed.wish.budget_bytes_per_s, 1000u);
  EXPECT_EQ(parse_prefix_options("", wish).wish, wish);
}

TEST(DeliveryOptions, ThatHaveNoEffectTogetherAreRefused) {
  for (const char* bad : {"unchanged=send;delta=0.5", "delta=5%25;unchanged=send"}) {
    EXPECT_EQ(parse_prefix_options(bad, {}).fault, "delta has no effect with unchanged=send");
  }
  EXPECT_EQ(parse_prefix_options("unchanged=send;field=%2Fa", {}).fault,
            "field has no effect with unchanged=send");
  protocol::Properties properties;
  properties.user_properties = {{"delta", "1"}, {"unchanged", "send"}};
  EXPECT_EQ(parse_delivery_wish(properties).fault, "delta has no effect with unchanged=send");
}

TEST(DeliveryOptions, OfWhoSpeaksCloserBeginOrEndAFilter) {
  DeliveryWish below;
  below.unchanged = UnchangedValues::send;
  const DeliveryWish begun = parse_prefix_options("delta=0.5", below).wish;
  EXPECT_EQ(begun.delta, 0.5);
  EXPECT_FALSE(begun.unchanged.has_value());
  const DeliveryWish ended = parse_prefix_options("unchanged=send", begun).wish;
  EXPECT_FALSE(ended.delta.has_value());
  EXPECT_EQ(ended.unchanged, UnchangedValues::send);
}

TEST(DeliveryOptions, OfAConnectionAreToldAndMeanTheSame) {
  const std::string options =
      "history=20;max-rate-hz=0.5;budget-bytes-per-s=20000;tick-ms=100;weight=7;unchanged=skip;"
      "delta=5%25;field=%2Fa%3B;heartbeat-s=60";
  const ParsedWish parsed = parse_prefix_options(options, {});
  EXPECT_EQ(parsed.fault, "");
  EXPECT_EQ(wish_text(parsed.wish), options);
  protocol::Properties properties;
  properties.user_properties = {{"delivery", "latest"}};
  EXPECT_EQ(wish_text(parse_delivery_wish(properties, {}).wish), "delivery=latest");
  properties.user_properties = {{"max-rate-hz", "2"}};
  const DeliveryWish both = parse_delivery_wish(properties, parsed.wish).wish;
  EXPECT_EQ(both.max_rate_hz, 2);
  EXPECT_EQ(both.tick_ms, 100u);
}

TEST(DeliveryOptions, OfAPrefixMayBeEscaped) {
  EXPECT_EQ(parse_prefix_options("max-rate-hz=%32", {}).wish.max_rate_hz, 2);
  for (const char* bad :
       {"max-rate-hz=%", "max-rate-hz=%3", "max-rate-hz=%3g", "max-rate-hz=%-1"}) {
    EXPECT_NE(parse_prefix_options(bad, {}).fault, "") << bad;
  }
}

TEST(DeliveryOptions, OfAPrefixAreKnownOnesEachOnce) {
  for (const char* bad : {"rate=2", "max-rate-hz", "max-rate-hz=", "=2", ";", "max-rate-hz=1;;",
                          "max-rate-hz=1;max-rate-hz=1", "delivery=every", "max-rate-hz=0"}) {
    EXPECT_NE(parse_prefix_options(bad, {}).fault, "") << bad;
  }
  std::string many;
  for (int i = 0; i < 10'000; ++i) many += "max-rate-hz=1;";
  EXPECT_EQ(parse_prefix_options(many, {}).fault, "the options of the prefix are too long");
}

TEST(DeliveryOptions, AreToldAsTheyWereGranted) {
  EXPECT_EQ(granted_text(Mode::adaptive, nullptr), "delivery=adaptive");
  EXPECT_EQ(granted_text(Mode::every, nullptr, 20), "delivery=every;history=20");
  broker::ShapeFields fields;
  fields.interval_ms = 400;
  fields.budget_bytes_per_s = 20'000;
  EXPECT_EQ(granted_text(Mode::latest, broker::make_shape(fields).get()),
            "delivery=latest;max-rate-hz=2.5;budget-bytes-per-s=20000");
  fields = {};
  fields.changes = broker::Changes::by_percent;
  fields.delta = 2.5;
  fields.field = "/a/b;c";
  fields.heartbeat_s = 60;
  const std::string text = granted_text(Mode::latest, broker::make_shape(fields).get());
  EXPECT_EQ(text, "delivery=latest;delta=2.5%25;field=%2Fa%2Fb%3Bc;heartbeat-s=60");
  const DeliveryWish again = parse_prefix_options(text.substr(text.find(';') + 1), {}).wish;
  EXPECT_EQ(again.delta_percent, 2.5) << "what SUBACK says can be asked for as it stands";
  EXPECT_EQ(again.field, "/a/b;c");
}

}  // namespace
}  // namespace millrace::server
