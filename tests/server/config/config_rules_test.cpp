// Relations between keys, and rules of access and delivery.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/server/config/loaded.hpp"

namespace millrace::server {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(Config, RelationsBetweenKeysAreChecked) {
  EXPECT_THAT(faults_of(with_sets({"queue.initial_capacity=8"})),
              HasSubstr("queue.min_capacity: must not exceed queue.initial_capacity (8)"));
  EXPECT_THAT(faults_of(with_sets({"queue.shrink_threshold=0.5"})),
              HasSubstr("below 1 / queue.growth_factor"));
  EXPECT_THAT(faults_of(with_sets({"outbox.credit_bytes=1024"})),
              HasSubstr("outbox.latest_credit_bytes: must not exceed"));
  EXPECT_THAT(faults_of(with_sets({"listeners[1].port=1883"})),
              HasSubstr("listeners[1].port: is taken by \"tcp\""));
  EXPECT_THAT(faults_of(with_sets({"listeners[1].name=tcp"})), HasSubstr("another listener's"));
  EXPECT_THAT(faults_of(with_sets({"listeners=[]"})), HasSubstr("at least one"));
  EXPECT_THAT(faults_of(with_sets({"access.allow_anonymous=false"})), HasSubstr("nobody could"));
}

TEST(Config, WhomARuleConcernsIsChecked) {
  const auto faults = [](const std::string& rule) {
    return faults_of(with_sets({"access.rules=[{\"filter\": \"a\", " + rule + "}]"}));
  };
  EXPECT_THAT(faults(R"("address": ["10.0.0.1/8"])"),
              HasSubstr("access.rules[0].address: must be an address, or a range"));
  EXPECT_THAT(faults(R"("address": ["10.0.0.0/8", "::1"])"), IsEmpty());
  EXPECT_THAT(faults(R"("listener": "tpc")"), HasSubstr("no listener is called \"tpc\""));
  for (const char* name : {"tcp", "ws", "http", "local"}) {
    EXPECT_THAT(faults(R"("listener": ")" + std::string(name) + R"(")"), IsEmpty()) << name;
  }
  EXPECT_THAT(faults(R"("effect": "deny", "qos_max": 1)"),
              HasSubstr("qos_max: is what a rule that"));
  EXPECT_THAT(faults(R"("effect": "allow", "action": "receive", "qos_max": 1)"),
              HasSubstr("qos_max: has no meaning for receive"));
  EXPECT_THAT(faults(R"("retained": true)"), HasSubstr("retained: has a meaning for the action"));
  EXPECT_THAT(faults(R"("action": "publish", "retained": true)"), IsEmpty());
  EXPECT_THAT(faults_of(with_sets({R"(access.rules=[{"filter": "a/%u/%c/x-%u/#"}])"})), IsEmpty());
  EXPECT_THAT(faults_of(with_sets({R"(access.rules=[{"filter": "#/%u"}])"})),
              HasSubstr("is not a topic filter"));
}

TEST(Config, RulesAreChecked) {
  EXPECT_THAT(faults_of(with_sets({R"(access.rules=[{"filter": "a/#/b"}])"})),
              HasSubstr("access.rules[0].filter: is not a topic filter"));
  EXPECT_THAT(faults_of(with_sets({R"(access.rules=[{"user": "ann"}])"})),
              HasSubstr("access.rules[0].user: names a user"));
  EXPECT_THAT(
      faults_of(with_sets({R"(access.rules=[{"effect": "allow", "reason": "unspecified"}])"})),
      HasSubstr("access.rules[0].reason: is what a rule that denies says"));
  EXPECT_THAT(faults_of(with_sets({R"(delivery.rules=[{"listener": "tpc"}])"})),
              HasSubstr("no listener is called \"tpc\"; did you mean \"tcp\"?"));
  // Readers of /events come through HTTP.
  EXPECT_THAT(faults_of(with_sets({R"(delivery.rules=[{"listener": "http", "mode": "every"}])"})),
              IsEmpty());
  EXPECT_THAT(faults_of(with_sets({R"(delivery.rules=[{"filter": "a"}])"})),
              HasSubstr("says nothing of how subscriptions are served"));
  EXPECT_THAT(faults_of(with_sets({R"(delivery.rules=[{"budget_bytes_per_s": 0}])"})),
              HasSubstr("delivery.rules[0].budget_bytes_per_s"));
  EXPECT_THAT(faults_of(with_sets({R"(delivery.rules=[{"history": 5}])", "history.depth=4"})),
              HasSubstr("delivery.rules[0].history: must not exceed history.depth (4)"));
  EXPECT_THAT(faults_of(with_sets({R"(delivery.rules=[{"delta": 1, "unchanged": "send"}])"})),
              HasSubstr("delivery.rules[0].unchanged: is `send`, with which"));
  EXPECT_THAT(faults_of(with_sets({R"(delivery.rules=[{"delta": 1, "delta_percent": 1}])"})),
              HasSubstr("delivery.rules[0].delta_percent: stands beside delta"));
  for (const char* bad :
       {R"(delivery.rules=[{"field": "temperature"}])", R"(delivery.rules=[{"delta": 0}])",
        R"(delivery.rules=[{"delta": -1}])", R"(delivery.rules=[{"delta": 1e308}])",
        R"(delivery.rules=[{"heartbeat_s": 0}])", R"(delivery.rules=[{"unchanged": "drop"}])"}) {
    EXPECT_THAT(faults_of(with_sets({bad})), HasSubstr("delivery.rules[0].")) << bad;
  }
  const auto filter = with_sets({R"(delivery.rules=[{"unchanged": "skip", "field": "/a",
                                                     "heartbeat_s": 60}])"});
  EXPECT_THAT(faults_of(filter), IsEmpty());
  EXPECT_EQ(filter.config.delivery.rules[0].unchanged, UnchangedValues::skip);
  const auto budget = with_sets({R"(delivery.rules=[{"budget_bytes_per_s": 20000}])"});
  EXPECT_THAT(faults_of(budget), IsEmpty());
  EXPECT_EQ(budget.config.delivery.rules[0].budget_bytes_per_s, 20'000u);
  const auto good = with_sets({R"(delivery.rules=[{"filter": "a/#", "mode": "latest",
                                                   "max_rate_hz": 0.5, "listener": "ws"}])"});
  EXPECT_THAT(faults_of(good), IsEmpty());
  ASSERT_EQ(good.config.delivery.rules.size(), 1u);
  EXPECT_EQ(good.config.delivery.rules[0].mode, DeliveryMode::latest);
  EXPECT_EQ(good.config.delivery.rules[0].max_rate_hz, 0.5);
}

TEST(Config, WhatClientsAreToldHasToBeOfUseToThem) {
  for (const char* prefix : {"a/#", "+", "$SYS"}) {
    EXPECT_THAT(faults_of(with_sets({std::string("mqtt.response_prefix=") + prefix})),
                HasSubstr("mqtt.response_prefix: must be a topic"));
  }
  EXPECT_THAT(faults_of(with_sets({"mqtt.response_prefix="})), IsEmpty());
  EXPECT_THAT(faults_of(with_sets({"mqtt.server_reference=" + std::string(65'536, 'x')})),
              HasSubstr("mqtt.server_reference: is longer"));
}

}  // namespace
}  // namespace millrace::server
