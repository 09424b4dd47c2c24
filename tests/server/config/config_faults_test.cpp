// What is said about what cannot be read.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/server/config/loaded.hpp"

namespace millrace::server {
namespace {

using ::testing::HasSubstr;

TEST(Config, AllFaultsAreListedWithPathAndOrigin) {
  const auto loaded = with_file(
      R"({"quue": {"bytes_max": 1}, "queue": {"bytes_maxx": 1, "max_capacity": "many"},
          "mqtt": {"qos_max": 3}, "log": {"level": "wran"}, "http": 7,
          "listeners": [{"port": 70000, "transport": "udp"}, 5]})",
      {"MILLRACE_QUEUE_BYTE_MAX=1"}, {"threads.io=-1", "nonsense"});
  const std::string all = faults_of(loaded);
  EXPECT_THAT(all, HasSubstr("quue: unknown key"));
  EXPECT_THAT(all, HasSubstr("queue.bytes_maxx: unknown key; did you mean \"queue.bytes_max\"?"));
  EXPECT_THAT(all, HasSubstr("queue.max_capacity: must be a whole number, not \"many\""));
  EXPECT_THAT(all, HasSubstr("mqtt.qos_max: must be 0 to 2, not 3"));
  EXPECT_THAT(all, HasSubstr("log.level: must be one of trace|debug|info|warn|error|off, not "
                             "\"wran\"; did you mean \"warn\"?"));
  EXPECT_THAT(all, HasSubstr("http: must be an object, not 7"));
  EXPECT_THAT(all, HasSubstr("listeners[0].port: must be 0 to 65,535, not 70000"));
  EXPECT_THAT(all, HasSubstr("listeners[0].transport: must be one of tcp|tls|ws|wss"));
  EXPECT_THAT(all, HasSubstr("listeners[1]: must be an object, not 5"));
  EXPECT_THAT(all, HasSubstr("MILLRACE_QUEUE_BYTE_MAX: unknown variable; did you mean "
                             "\"MILLRACE_QUEUE_BYTES_MAX\"?"));
  EXPECT_THAT(all, HasSubstr("--set: threads.io: must be 0 to 256, not -1"));
  EXPECT_THAT(all, HasSubstr("--set: nonsense: must look like path=value"));
  EXPECT_THAT(all, HasSubstr("millrace.json"));
}

TEST(Config, RefusesNumbersThatAreNoNumbersOfThatKind) {
  EXPECT_THAT(faults_of(with_sets({"inflight_max=1.5"})), HasSubstr("must be a whole number"));
  EXPECT_THAT(faults_of(with_sets({"inflight_max=true"})), HasSubstr("must be a whole number"));
  EXPECT_THAT(faults_of(with_sets({"inflight_max="})), HasSubstr("must be a whole number"));
  EXPECT_THAT(faults_of(with_sets({"inflight_max=18446744073709551616"})), HasSubstr("must be"));
  EXPECT_THAT(faults_of(with_sets({"queue.growth_factor=1e999"})), HasSubstr("growth_factor"));
  EXPECT_THAT(faults_of(with_sets({"mqtt.retain_available=1"})), HasSubstr("true or false"));
}

TEST(Config, SaysWhereTheFileIsBroken) {
  EXPECT_THAT(faults_of(with_file("{\n \"http\": {\n")), HasSubstr("line 3"));
  EXPECT_THAT(faults_of(with_file("[]")), HasSubstr("must be an object, not a list"));
  EXPECT_THAT(faults_of(with_file(R"({"inflight_max": 1, "inflight_max": 2})")),
              HasSubstr("inflight_max: stands twice"));
}

TEST(Config, AKeyThatStandsTwiceIsNamedWithItsSection) {
  const std::string all = faults_of(with_file(
      R"({"access": {"allow_anonymous": true, "rules": [{"filter": "a"},
            {"filter": "b", "address": ["::1", "10.0.0.1"], "filter": "c"}],
            "allow_anonymous": true}, "listeners": [{}, {"tls": {"ciphers": "x", "ciphers": "x"}}],
          "access": {}})"));
  EXPECT_THAT(all,
              HasSubstr("millrace.json: access.allow_anonymous: stands twice in one object\n"));
  EXPECT_THAT(all,
              HasSubstr("millrace.json: access.rules[1].filter: stands twice in one object\n"));
  EXPECT_THAT(all,
              HasSubstr("millrace.json: listeners[1].tls.ciphers: stands twice in one object\n"));
  EXPECT_THAT(all, HasSubstr("millrace.json: access: stands twice in one object\n"));
}

// A key that cannot be parsed keeps its default; no further fault is reported about that value.
TEST(Config, OfWhatCouldNotBeReadNothingMoreIsSaid) {
  EXPECT_EQ(faults_of(with_sets({"listeners=[{\"port\":-1}]", "http.port=1883"})),
            "--set: listeners[0].port: must be 0 to 65,535, not -1\n");
  EXPECT_EQ(faults_of(with_sets({"http.port=x", "listeners[0].port=9464"})),
            "--set: http.port: must be a whole number, not \"x\"\n");
  // On all addresses, the taken port would be reported at http.port.
  EXPECT_EQ(faults_of(with_sets({"access.allow_anonymous=true", "http.port=1883",
                                 R"(listeners=[{"host":"0.0.0.0","port":"x"}])"})),
            "--set: listeners[0].port: must be a whole number, not \"x\"\n");
  EXPECT_EQ(
      faults_of(with_sets({R"(listeners=[{},{"transport":"wsss","path":"/m","tls":{
                                     "certificate_file":"/c"}}])"})),
      "--set: listeners[1].transport: must be one of tcp|tls|ws|wss|unix, not \"wsss\"; did you "
      "mean \"wss\"?\n");
  EXPECT_EQ(faults_of(with_sets({R"(access={"password_file":5})", "listeners[0].host=0.0.0.0"})),
            "--set: access.password_file: must be text, not 5\n");
  EXPECT_EQ(faults_of(with_sets({"http.serves=[5]"})),
            "--set: http.serves[0]: must be text, not 5\n");
}

TEST(Config, SuggestsWhatMayBeServed) {
  const std::string all =
      faults_of(with_sets({"http.serves=[\"metrcs\"]", R"(http.listeners=[{"serves":"topic"}])"}));
  EXPECT_THAT(all, HasSubstr("http.serves: must be metrics, topics or api, not \"metrcs\"; did you "
                             "mean \"metrics\"?"));
  EXPECT_THAT(all, HasSubstr("http.listeners[0].serves: must be metrics, topics or api, not "
                             "\"topic\"; did you mean \"topics\"?"));
}

TEST(Config, SaysWhyTheFileCannotBeRead) {
  ConfigSources sources;
  sources.file = "/nonexistent/millrace.json";
  EXPECT_THAT(faults_of(load_config(sources)), HasSubstr("No such file"));
  sources.file = "/";
  EXPECT_THAT(faults_of(load_config(sources)), HasSubstr("cannot read the file"));
}

TEST(Config, EveryFileThatCannotBeReadIsNamed) {
  const auto faults =
      faults_of(with_sets({"access.jwt.keys_file=/no/keys", "access.jwt.secret_file=/no/secret",
                           "access.password_file=/no/passwords"}));
  EXPECT_THAT(faults, HasSubstr("access.jwt.keys_file: cannot read \"/no/keys\""));
  EXPECT_THAT(faults, HasSubstr("access.jwt.secret_file: cannot read \"/no/secret\""));
  EXPECT_THAT(faults, HasSubstr("access.password_file: cannot read \"/no/passwords\""));
}

TEST(Config, DeepNestingEndsInAFault) {
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += "{\"http\":";
  EXPECT_FALSE(with_file(text).ok());
  EXPECT_FALSE(with_file("{\"listeners\":" + std::string(100'000, '[') + "}").ok());
}

}  // namespace
}  // namespace millrace::server
