// What `millrace check` says about upstreams.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/config/upstream_address.hpp"
#include "tests/server/config/loaded.hpp"

namespace millrace::server {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

// `more`: keys of the one upstream, beside those that it needs.
std::string faults_with(const std::string& more, const std::string& rules = R"([{
    "direction": "both"}])") {
  return faults_of(
      with_file(R"({"upstreams": [{"name": "north", "addresses": "mqtts://broker.example",
      "rules": )" +
                rules + (more.empty() ? "" : ", ") + more + "}]}"));
}

TEST(Upstreams, NeedANameAnAddressAndARule) {
  const LoadedConfig loaded = with_file(R"({"upstreams": [{}]})");
  EXPECT_THAT(faults_of(loaded), HasSubstr("upstreams[0].name: is needed"));
  EXPECT_THAT(faults_of(loaded), HasSubstr("upstreams[0].addresses: at least one is needed"));
  EXPECT_THAT(faults_of(loaded), HasSubstr("upstreams[0].rules: at least one is needed"));
  EXPECT_THAT(faults_with(""), IsEmpty());
}

TEST(Upstreams, HaveNamesOfTheirOwn) {
  const std::string one =
      R"({"name": "n", "addresses": "mqtt://a", "rules": [{"direction": "in"}]})";
  EXPECT_THAT(faults_of(with_file(R"({"upstreams": [)" + one + "," + one + "]}")),
              HasSubstr("upstreams[1].name: \"n\" is another upstream's name already"));
  EXPECT_THAT(faults_of(with_file(R"({"upstreams": [{"name": "a/b", "addresses": "mqtt://a",
      "rules": [{"direction": "in"}]}]})")),
              HasSubstr("letters, digits"));
}

TEST(Upstreams, HaveKeysThatTheCommandLineReaches) {
  const LoadedConfig loaded =
      with_file(R"({"upstreams": [{"name": "n", "addresses": "mqtt://a",
      "rules": [{"direction": "in"}, {"direction": "out"}]}]})",
                {}, {"upstreams[0].rules[1].filter=a/b", "upstreams[0].user=17"});
  EXPECT_THAT(faults_of(loaded), IsEmpty());
  EXPECT_EQ(loaded.config.upstreams[0].rules[1].filter, "a/b");
  EXPECT_EQ(loaded.config.upstreams[0].user, "17");
  EXPECT_THAT(faults_of(with_file(R"({"upstreams": [{"name": "n", "addresses": "mqtt://a",
      "rules": [{"direction": "in"}]}]})",
                                  {}, {"upstreams[0].rules[3].filter=a"})),
              HasSubstr("there is no such item"));
}

TEST(Upstreams, HaveRulesWithADirectionAndFilters) {
  EXPECT_THAT(faults_with("", R"([{}])"), HasSubstr("rules[0].direction: is needed"));
  EXPECT_THAT(faults_with("", R"([{"direction": "up"}])"), HasSubstr("must be one of in|out|both"));
  EXPECT_THAT(faults_with("", R"([{"direction": "in", "filter": "a/#/b"}])"),
              HasSubstr("together are no topic filter: \"a/#/b\""));
  EXPECT_THAT(faults_with("", R"([{"direction": "in", "local_prefix": "+/"}])"),
              HasSubstr("must not contain wildcards"));
  EXPECT_THAT(faults_with("", R"([{"direction": "in", "filter": "$SYS/#"}])"),
              HasSubstr("cannot be published below $SYS"));
  EXPECT_THAT(faults_with("", R"([{"direction": "in", "filter": "$SYS/#", "local_prefix": "x/"}])"),
              IsEmpty());
  EXPECT_THAT(faults_with("", R"([{"direction": "out", "filter": "$share/g/a"}])"),
              HasSubstr("must be a plain filter"));
}

TEST(Upstreams, LetATopicCrossByOneRule) {
  EXPECT_THAT(faults_with("", R"([{"direction": "out", "filter": "a/#"},
                                  {"direction": "both", "filter": "a/+"}])"),
              HasSubstr("rules[1].filter: matches topics that rules[0] matches too"));
  EXPECT_THAT(faults_with("", R"([{"direction": "out", "filter": "a/#"},
                                  {"direction": "in", "filter": "a/#"}])"),
              IsEmpty());
  EXPECT_THAT(faults_with("", R"([{"direction": "in", "local_prefix": "x/"},
                                  {"direction": "in", "local_prefix": "y/"}])"),
              HasSubstr("what comes in would cross twice"));
}

TEST(Upstreams, ConflateWhatGoesOutAlone) {
  EXPECT_THAT(faults_with("", R"([{"direction": "in", "mode": "latest"}])"),
              HasSubstr("rules[0].mode: is about what goes out"));
  EXPECT_THAT(faults_with("", R"([{"direction": "in", "max_rate_hz": 1}])"),
              HasSubstr("rules[0].max_rate_hz: is about what goes out"));
  EXPECT_THAT(faults_with("", R"([{"direction": "out", "mode": "every", "max_rate_hz": 1}])"),
              HasSubstr("has no effect with the mode `every`"));
}

TEST(Upstreams, AcknowledgeForTheUpstreamWhatItAcknowledges) {
  const auto faults = [](const std::string& more) {
    return faults_with("", R"([{"ack": "upstream", )" + more + "}]");
  };
  EXPECT_EQ(faults(R"("direction": "out")"), "");
  EXPECT_EQ(faults(R"("direction": "both", "qos_max": 1)"), "");
  EXPECT_THAT(faults(R"("direction": "in")"), HasSubstr("rules[0].ack: is about what goes out"));
  EXPECT_THAT(faults(R"("direction": "out", "qos_max": 0)"), HasSubstr("ack: needs a `qos_max`"));
  EXPECT_THAT(faults(R"("direction": "out", "mode": "latest")"),
              HasSubstr("ack: needs the mode `every`"));
  EXPECT_THAT(faults(R"("direction": "out", "max_rate_hz": 1)"),
              HasSubstr("ack: needs the mode `every`"));
}

TEST(Upstreams, FollowTheDemandInwardAlone) {
  EXPECT_EQ(faults_with("", R"([{"direction": "in", "demand": true}])"), "");
  EXPECT_EQ(faults_with("", R"([{"direction": "in", "demand": false}])"), "");
  for (const char* direction : {"out", "both"}) {
    const std::string rule = std::string(R"([{"direction": ")") + direction;
    EXPECT_THAT(faults_with("", rule + R"(", "demand": false}])"),
                HasSubstr("upstreams[0].rules[0].demand: is about rules of the direction `in`"));
  }
}

TEST(Upstreams, UseTlsWithWhatBelongsToIt) {
  EXPECT_THAT(faults_with(R"("tls": {"ca_file": "/nowhere"})"),
              HasSubstr("upstreams[0].tls.ca_file: cannot read \"/nowhere\""));
  EXPECT_THAT(faults_with(R"("tls": {"certificate_file": "/dev/null"})"),
              HasSubstr("upstreams[0].tls.key_file: is needed"));
  EXPECT_THAT(faults_of(with_file(R"({"upstreams": [{"name": "n", "addresses": "mqtt://a",
      "tls": {"verify": "insecure"}, "rules": [{"direction": "in"}]}]})")),
              HasSubstr("upstreams[0].tls: has no meaning without an address"));
  EXPECT_THAT(faults_with(R"("tls": {"verify": "no"})"), HasSubstr("full|signer|insecure"));
}

TEST(Upstreams, HaveAddressesOfTheirType) {
  EXPECT_THAT(faults_with(R"("type": "mqtt")"), IsEmpty());
  EXPECT_THAT(faults_with(R"("type": "amqp")"),
              HasSubstr("upstreams[0].type: must be one of mqtt"));
  EXPECT_THAT(faults_with(R"("type": "nats")"),
              HasSubstr("is an address of MQTT, and `type` is nats: \"mqtts://broker.example\""));
  EXPECT_THAT(faults_of(with_file(R"({"upstreams": [{"name": "n", "addresses": "nats://a",
      "rules": [{"direction": "in"}]}]})")),
              HasSubstr("is an address of NATS, and `type` is mqtt: \"nats://a\""));
}

// `more`: keys of the one upstream, which is a NATS server.
std::string nats_faults_with(const std::string& more,
                             const std::string& rules = R"([{"direction": "both"}])") {
  return faults_of(with_file(R"({"upstreams": [{"name": "n", "type": "nats", "addresses": "tls://a",
      "rules": )" + rules + (more.empty() ? "" : ", ") +
                             more + "}]}"));
}

TEST(Upstreams, OfNatsRefuseWhatIsOfMqttAlone) {
  EXPECT_THAT(nats_faults_with(""), IsEmpty());
  EXPECT_THAT(nats_faults_with(R"("version": "5")"), HasSubstr("upstreams[0].version: is about"));
  EXPECT_THAT(nats_faults_with(R"("clean": true)"), HasSubstr("upstreams[0].clean: is about MQTT"));
  EXPECT_THAT(nats_faults_with(R"("tls": {"verify": "signer"})"),
              HasSubstr("upstreams[0].tls.verify: must be full or insecure"));
  EXPECT_THAT(nats_faults_with(R"("credentials_file": "/nowhere")"),
              HasSubstr("upstreams[0].credentials_file: cannot read"));
  EXPECT_THAT(nats_faults_with(R"("credentials_file": "/dev/null", "user": "u")"),
              HasSubstr("upstreams[0].credentials_file: stands in place of `user`"));
  EXPECT_THAT(faults_with(R"("credentials_file": "/dev/null")"),
              HasSubstr("upstreams[0].credentials_file: is about NATS"));
}

TEST(Upstreams, OfNatsHaveRulesThatNatsCanServe) {
  const auto faults = [](const std::string& rule) {
    return nats_faults_with("", "[" + rule + "]");
  };
  EXPECT_THAT(faults(R"({"direction": "in", "filter": "$JS/#"})"),
              HasSubstr("upstreams[0].rules[0].filter: must not begin with `$`"));
  EXPECT_THAT(faults(R"({"direction": "out", "remote_prefix": "$KV/"})"),
              HasSubstr("upstreams[0].rules[0].remote_prefix: must not begin with `$`"));
  EXPECT_THAT(faults(R"({"direction": "out", "filter": ")" + std::string(1'334, 'x') + R"("})"),
              HasSubstr("upstreams[0].rules[0].filter: is too long for NATS"));
  EXPECT_THAT(faults(R"({"direction": "out", "ack": "upstream"})"),
              HasSubstr("upstreams[0].rules[0].ack: needs `jetstream`"));
  EXPECT_THAT(faults(R"({"direction": "out", "ack": "upstream", "jetstream": true})"), IsEmpty());
  EXPECT_THAT(faults(R"({"direction": "in", "jetstream": true})"),
              HasSubstr("upstreams[0].rules[0].jetstream: is about what goes out"));
  EXPECT_THAT(faults(R"({"direction": "out", "qos_max": 0, "jetstream": true})"),
              HasSubstr("upstreams[0].rules[0].jetstream: needs a `qos_max` of 1 or 2"));
  EXPECT_THAT(faults_with("", R"([{"direction": "out", "jetstream": true}])"),
              HasSubstr("upstreams[0].rules[0].jetstream: is about NATS"));
}

TEST(Upstreams, ShowAPasswordForAUserAlone) {
  EXPECT_THAT(faults_with(R"("password_file": "/dev/null")"),
              HasSubstr("upstreams[0].password_file: has no meaning without `user`"));
}

TEST(UpstreamAddress, NamesTransportHostAndPort) {
  std::string fault;
  const auto plain = parse_upstream_address("mqtt://broker.example", fault);
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->host, "broker.example");
  EXPECT_EQ(plain->port, 1883);
  EXPECT_FALSE(plain->uses_tls());
  const auto secure = parse_upstream_address("mqtts://[::1]/", fault);
  ASSERT_TRUE(secure);
  EXPECT_EQ(secure->host, "::1");
  EXPECT_EQ(secure->port, 8883);
  EXPECT_TRUE(secure->uses_tls());
  EXPECT_EQ(parse_upstream_address("mqtt://10.0.0.1:1884", fault)->port, 1884);
  const auto nats = parse_upstream_address("nats://[::1]", fault);
  ASSERT_TRUE(nats);
  EXPECT_EQ(nats->type, UpstreamType::nats);
  EXPECT_EQ(nats->port, 4222);
  EXPECT_FALSE(nats->uses_tls());
  EXPECT_TRUE(parse_upstream_address("tls://nats.example:4223", fault)->uses_tls());
  const auto web = parse_upstream_address("wss://broker.example", fault);
  EXPECT_EQ(web->port, 443);
  EXPECT_EQ(web->path, "/mqtt");
  EXPECT_EQ(parse_upstream_address("ws://a:8083/some/path", fault)->path, "/some/path");
}

TEST(UpstreamAddress, RefusesWhatItCannotMean) {
  for (const char* text :
       {"", "broker.example", "http://a", "mqtt://", "mqtt://:1", "mqtt://a:", "mqtt://a:0",
        "mqtt://a:70000", "mqtt://a:1x", "mqtt://a/b", "mqtt://u:p@a", "mqtt://[::1", "mqtt://[a]",
        "mqtt://a b", "mqtt://a\r\nb", "nats://", "tls://u:p@a", "nats://a/b"}) {
    std::string fault;
    EXPECT_FALSE(parse_upstream_address(text, fault)) << text;
    EXPECT_FALSE(fault.empty()) << text;
  }
}

}  // namespace
}  // namespace millrace::server
