// Where values come from, and what the defaults are.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "server/config/machine_memory.hpp"
#include "tests/server/config/loaded.hpp"

namespace millrace::server {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(Config, WithNothingGivenIsLoopbackOnlyAndAnonymous) {
  const LoadedConfig loaded = load_config({});
  EXPECT_THAT(faults_of(loaded), IsEmpty());
  ASSERT_EQ(loaded.config.listeners.size(), 2u);
  EXPECT_EQ(loaded.config.listeners[0].port, 1883);
  EXPECT_EQ(loaded.config.listeners[1].port, 8083);
  EXPECT_EQ(loaded.config.listeners[1].path, std::vector<std::string>{"/mqtt"});
  for (const auto& listener : loaded.config.listeners) EXPECT_TRUE(is_loopback(listener.host));
  EXPECT_TRUE(is_loopback(loaded.config.http.host));
  EXPECT_EQ(loaded.config.http.port, 9464);
  EXPECT_TRUE(loaded.config.access.anonymous_allowed());
}

// What the machine has, or the group that the process is in, is read in machine_memory_test.cpp.
TEST(Config, LimitsMemoryToThreeQuartersOfWhatThereIsUnlessItIsGiven) {
  const std::uint64_t there = machine_memory_bytes();
  EXPECT_EQ(Config().memory_bytes_max(), there / 4 * 3);
  EXPECT_EQ(with_sets({"memory.bytes_max=1000000000"}).config.memory_bytes_max(), 1'000'000'000u);
}

TEST(Config, DefaultsLieWithinTheirOwnLimits) {
  // Every default goes through the parser that a user's value goes through.
  const Config defaults;
  Config parsed;
  std::vector<ConfigFault> faults;
  for (const auto& key : config_schema().keys()) {
    key.parse(parsed, key.render(defaults), FaultSink(faults, key.path, "default"));
  }
  for (const ConfigFault& fault : faults) ADD_FAILURE() << fault.to_string();
}

TEST(Config, EveryKeyCanBeSetAndReadBack) {
  for (const auto& key : config_schema().keys()) {
    Config config;
    std::vector<ConfigFault> faults;
    const Json before = key.render(config);
    Json changed;
    if (before.is_boolean()) changed = !before.get<bool>();
    if (before.is_number_unsigned()) changed = before.get<std::uint64_t>() - (before > 1 ? 1 : 0);
    if (before.is_number_float()) changed = before.get<double>() * 1.125;
    if (changed.is_null() || changed == before) continue;
    key.parse(config, changed, FaultSink(faults, key.path, "test"));
    EXPECT_THAT(faults, IsEmpty()) << key.path;
    EXPECT_EQ(key.render(config), changed) << key.path;
  }
}

TEST(Config, FrameOfAPublisherRingIsAtMostAQuarterOfIt) {
  const std::string ring = R"({"local": {"publisher_ring_bytes": 1048576,
                                         "publisher_frame_bytes_max": )";
  EXPECT_THAT(faults_of(with_file(ring + "262144}}")), IsEmpty());
  EXPECT_THAT(faults_of(with_file(ring + "262145}}")),
              HasSubstr("a quarter of local.publisher_ring_bytes (262144)"));
  EXPECT_THAT(faults_of(with_sets({"local.publisher_ring_bytes=300000"})),
              HasSubstr("power of two"));
}

TEST(Config, OneAddressMayHaveAllConnectionsOfHttpUnlessSomebodyLimitsThem) {
  EXPECT_EQ(Config().http.connections_per_address_max, 0u);
  const auto loaded = with_sets({"http.connections_per_address_max=8"});
  EXPECT_THAT(faults_of(loaded), IsEmpty());
  EXPECT_EQ(loaded.config.http.connections_per_address_max, 8u);
  EXPECT_THAT(faults_of(with_sets({"http.connections_per_address_max=65536"})),
              HasSubstr("http.connections_per_address_max: must be 0 to 65,535"));
}

// An alias becomes its topic: 65,535 bytes more, which Remaining Length must still express.
TEST(Config, LargestPacketLeavesRoomForWhatTheServerAdds) {
  EXPECT_THAT(faults_of(with_sets({"packet_bytes_max=267386880"})), IsEmpty());
  EXPECT_THAT(faults_of(with_sets({"packet_bytes_max=268435460"})), HasSubstr("267,386,880"));
}

TEST(Config, TheStoreTakesTheLargestPacket) {
  EXPECT_THAT(faults_of(with_sets({"store.waiting_bytes_max=16777216"})), IsEmpty());
  EXPECT_THAT(
      faults_of(with_sets({"store.waiting_bytes_max=16777216", "packet_bytes_max=16777217"})),
      HasSubstr("packet_bytes_max: must not exceed store.waiting_bytes_max"));
}

TEST(Config, AWordIsTheChoiceOfWhatPublishersAreToldWhileTheStoreFails) {
  EXPECT_THAT(faults_of(with_sets({"store.on_failure=refuse"})), IsEmpty());
  EXPECT_THAT(faults_of(with_sets({"store.on_failure=drop"})), HasSubstr("store.on_failure"));
}

TEST(Config, NoTwoKeysShareAVariable) {
  std::set<std::string> variables;
  for (const std::string& path : config_schema().paths()) {
    EXPECT_TRUE(variables.insert(config_variable(path)).second) << path;
  }
}

TEST(Config, FileMayHaveComments) {
  const auto loaded = with_file("{ // ports\n \"http\": { \"port\": 1234 /* here */ } }");
  EXPECT_THAT(faults_of(loaded), IsEmpty());
  EXPECT_EQ(loaded.config.http.port, 1234);
}

TEST(Config, VariablesOverrideTheFileAndSetsOverrideBoth) {
  const std::string text = R"({"queue": {"max_capacity": 2048, "bytes_max": 8388608},
                              "inflight_max": 7})";
  const auto loaded =
      with_file(text, {"MILLRACE_QUEUE_MAX_CAPACITY=4096", "MILLRACE_INFLIGHT_MAX=8", "HOME=/x"},
                {"inflight_max=9"});
  EXPECT_THAT(faults_of(loaded), IsEmpty());
  EXPECT_EQ(loaded.config.queue.bytes_max, 8388608u);
  EXPECT_EQ(loaded.config.queue.max_capacity, 4096u);
  EXPECT_EQ(loaded.config.inflight_max, 9u);
}

TEST(Config, PortFlagsMoveTheListenerOfTheirKindOrAddOne) {
  ConfigSources sources;
  sources.mqtt_port = 0;
  sources.ws_port = 9001;
  sources.http_port = 0;
  LoadedConfig loaded = load_config(sources);
  EXPECT_THAT(faults_of(loaded), IsEmpty());
  ASSERT_EQ(loaded.config.listeners.size(), 2u);
  EXPECT_EQ(loaded.config.listeners[0].port, 0);
  EXPECT_EQ(loaded.config.listeners[1].port, 9001);
  EXPECT_EQ(loaded.config.http.port, 0);

  sources.sets = {R"(listeners=[{"transport": "ws"}])"};
  loaded = load_config(sources);
  EXPECT_THAT(faults_of(loaded), IsEmpty());
  ASSERT_EQ(loaded.config.listeners.size(), 2u);
  EXPECT_EQ(loaded.config.listeners[0].port, 9001);
  EXPECT_EQ(loaded.config.listeners[1].transport, Transport::tcp);
}

TEST(Config, SetReachesIntoAList) {
  const auto loaded = with_sets({"listeners[1].path=/m", "listeners[0].port=0"});
  EXPECT_THAT(faults_of(loaded), IsEmpty());
  EXPECT_EQ(loaded.config.listeners[1].path, std::vector<std::string>{"/m"});
  EXPECT_EQ(loaded.config.listeners[0].port, 0);
  EXPECT_THAT(faults_of(with_sets({"listeners[7].port=1"})), HasSubstr("the list has 2"));
}

TEST(Config, TextIsTakenAsItStandsOnTheCommandLine) {
  const auto loaded = with_sets({"listeners[0].name=123", "listeners[1].name=\"a b\""});
  EXPECT_THAT(faults_of(loaded), IsEmpty());
  EXPECT_EQ(loaded.config.listeners[0].name, "123");
  EXPECT_EQ(loaded.config.listeners[1].name, "a b");
}

TEST(Config, AWordOfDigitsNeedsNoQuotationMarksOnTheCommandLine) {
  const std::string upstream = R"(upstreams=[{"name":"hq","addresses":"mqtt://127.0.0.1",
                                   "rules":[{"direction":"out"}]}])";
  for (const std::string version : {"5", "3.1.1", "\"5\""}) {
    const auto loaded = with_sets({upstream, "upstreams[0].version=" + version});
    EXPECT_THAT(faults_of(loaded), IsEmpty()) << version;
  }
  EXPECT_THAT(faults_of(with_sets({upstream, "upstreams[0].version=4"})),
              HasSubstr("must be one of 3.1.1|5, not 4"));
}

TEST(Config, IgnoresTheVariablesThatKubernetesInjects) {
  ConfigSources sources;
  sources.environment = {
      "MILLRACE_SERVICE_HOST=10.0.0.1",         "MILLRACE_PORT=tcp://10.0.0.1:1883",
      "MILLRACE_PORT_1883_TCP_ADDR=10.0.0.1",   "MILLRACE_SERVICE_PORT_MQTT=1883",
      "MILLRACE_HTTP_PORT=tcp://10.0.0.1:9464", "MILLRACE_CONFIG=/x"};
  EXPECT_THAT(faults_of(load_config(sources)), IsEmpty());
  sources.environment = {"MILLRACE_HTTP_PORT=4321"};
  EXPECT_EQ(load_config(sources).config.http.port, 4321);
}

TEST(Config, HelpNamesEveryKey) {
  const std::string help = config_help(), table = config_table_markdown();
  for (const std::string& path : config_schema().paths()) {
    EXPECT_THAT(help, HasSubstr(path + " = "));
    EXPECT_THAT(table, HasSubstr("| `" + path + "` |"));
  }
}

}  // namespace
}  // namespace millrace::server
