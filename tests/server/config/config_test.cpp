// Where values come from, and what is said about those that cannot be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "server/config/machine_memory.hpp"
#include "server/config/schema.hpp"
#include "tests/server/files.hpp"

namespace millrace::server {
namespace {

using test::Folder;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

LoadedConfig with_sets(std::vector<std::string> sets) {
  ConfigSources sources;
  sources.sets = std::move(sets);
  return load_config(sources);
}

LoadedConfig with_file(const std::string& text, std::vector<std::string> environment = {},
                       std::vector<std::string> sets = {}) {
  const Folder folder;
  ConfigSources sources;
  sources.file = folder.write("millrace.json", text);
  sources.environment = std::move(environment);
  sources.sets = std::move(sets);
  return load_config(sources);
}

std::string faults_of(const LoadedConfig& loaded) {
  std::string all;
  for (const ConfigFault& fault : loaded.faults) all += fault.to_string() + "\n";
  return all;
}

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

TEST(Config, ListenersMayBeEmptyIfLocalProcessesAreServed) {
  EXPECT_THAT(faults_of(with_file(R"({"listeners": []})")),
              HasSubstr("unless local.socket is set"));
  const auto loaded = with_file(R"({"listeners": [], "local": {"socket": "/tmp/x.sock"}})");
  EXPECT_THAT(faults_of(loaded), IsEmpty());
  EXPECT_TRUE(loaded.config.listeners.empty());
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

TEST(Config, ATextMayBeAListOfTexts) {
  auto loaded = with_file(R"({"listeners": [{"transport": "ws", "path": ["/mqtt", "/ws"]}]})");
  EXPECT_THAT(faults_of(loaded), IsEmpty());
  EXPECT_EQ(loaded.config.listeners[0].path, (std::vector<std::string>{"/mqtt", "/ws"}));
  loaded = with_sets({"listeners[1].path=[\"/a\",\"/b\"]"});
  EXPECT_EQ(loaded.config.listeners[1].path, (std::vector<std::string>{"/a", "/b"}));
  EXPECT_THAT(faults_of(with_sets({"listeners[1].path=[]"})), HasSubstr("at least one"));
  EXPECT_THAT(faults_of(with_sets({"listeners[1].path=[\"/a\",1]"})), HasSubstr("must be text"));
  EXPECT_THAT(faults_of(with_sets({"listeners[1].path=mqtt"})), HasSubstr("must begin with"));
}

TEST(Config, OriginsLookLikeOrigins) {
  EXPECT_THAT(faults_of(with_sets({"listeners[1].origins=[\"https://a.example:1\",\"*\"]"})),
              IsEmpty());
  EXPECT_THAT(faults_of(with_sets({"listeners[1].origins=a.example"})),
              HasSubstr("must look like"));
  EXPECT_THAT(faults_of(with_sets({"listeners[1].origins=http://a/b"})),
              HasSubstr("must look like"));
  EXPECT_THAT(faults_of(with_sets({"listeners[0].origins=*"})), HasSubstr("no meaning"));
}

TEST(Config, AllAddressesLeaveNoRoomForOneOfThem) {
  const auto two = [](const char* one, const char* other) {
    return faults_of(
        with_file(std::string(R"({"access": {"allow_anonymous": true}, "listeners": [)") +
                  R"({"host": ")" + one + R"("}, {"host": ")" + other + R"("}]})"));
  };
  EXPECT_THAT(two("0.0.0.0", "127.0.0.1"), HasSubstr("listeners[1].port: is taken by \"tcp\""));
  EXPECT_THAT(two("::1", "::"), HasSubstr("listeners[0].port: is taken by \"tcp-2\""));
  EXPECT_THAT(two("0.0.0.0", "::"), IsEmpty());
  EXPECT_THAT(two("127.0.0.1", "::"), IsEmpty());
}

TEST(Config, AllIpv6AddressesTakeIpv4TooUnlessSomebodyElseDoes) {
  Config config;
  config.listeners[0].host = "::";
  EXPECT_TRUE(takes_ipv4_too(config, "::", 1883));
  EXPECT_FALSE(takes_ipv4_too(config, "::1", 1883));
  config.listeners[1].port = 1883;
  EXPECT_FALSE(takes_ipv4_too(config, "::", 1883));
}

TEST(Config, ClientCertificatesNeedWhoSignedThem) {
  const std::string listener = R"({"listeners": [{"transport": "tls", "tls": {
      "certificate_file": "/dev/null", "key_file": "/dev/null", )";
  EXPECT_THAT(faults_of(with_file(listener + R"("client_certificate": "required"}}]})")),
              HasSubstr("tls.client_ca_file: is needed"));
  EXPECT_THAT(faults_of(with_file(listener + R"("user_from": "common_name"}}]})")),
              HasSubstr("tls.user_from: has no meaning while tls.client_certificate is none"));
  const std::string whole = R"("client_certificate": "required", "client_ca_file": "/dev/null",
      "user_from": "common_name"}}], "access": {"rules": [{"user": "ann"}]}})";
  EXPECT_THAT(faults_of(with_file(listener + whole)), IsEmpty());
}

TEST(Config, SettingsOfTlsAndWebSocketAreRefusedWithoutThem) {
  for (const std::string setting :
       {"client_certificate=required", "user_from=common_name", "version_min=1.3",
        "ciphers=ECDHE+AESGCM", "cipher_suites=TLS_AES_128_GCM_SHA256", "session_tickets=false",
        "client_ca_file=/dev/null", "key_file=/dev/null", "more_key_files=/dev/null"}) {
    const std::string key = "listeners[0].tls." + setting.substr(0, setting.find('='));
    EXPECT_THAT(faults_of(with_sets({"listeners[0].tls." + setting})),
                HasSubstr(key + ": has no meaning for tcp; did you mean tls?"));
  }
  EXPECT_THAT(faults_of(with_sets({"listeners[0].path=/a"})),
              HasSubstr("listeners[0].path: has no meaning without WebSocket"));
  EXPECT_THAT(faults_of(with_sets({R"(http.listeners=[{"tls":{"version_min":"1.3"}}])"})),
              HasSubstr("http.listeners[0].tls.certificate_file: is needed for TLS"));
}

TEST(Config, ACertificateThatNobodyIsAskedForOpensNoListener) {
  EXPECT_THAT(faults_of(with_sets(
                  {"listeners[0].host=0.0.0.0", "listeners[0].tls.client_certificate=required"})),
              HasSubstr("listeners[0].host: 0.0.0.0 is beyond loopback"));
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

TEST(Config, ListenersGetTheirTransportsPortAndAName) {
  const auto loaded = with_sets({R"(listeners=[{}, {"port": 2000}, {"transport": "ws"}])"});
  EXPECT_THAT(faults_of(loaded), IsEmpty());
  EXPECT_EQ(loaded.config.listeners[0].name, "tcp");
  EXPECT_EQ(loaded.config.listeners[1].name, "tcp-2");
  EXPECT_EQ(loaded.config.listeners[2].name, "ws");
  EXPECT_EQ(loaded.config.listeners[2].port, 8083);
}

TEST(Config, NoListenerOfMqttIsCalledAsHttpIs) {
  const auto called = [](const std::string& name) {
    return faults_of(with_sets({"listeners[0].name=" + name, "http.listeners=[{}]"}));
  };
  EXPECT_THAT(called("http"), HasSubstr("listeners[0].name: \"http\" is what HTTP is called"));
  EXPECT_THAT(called("local"), HasSubstr("\"local\" is what local.socket is called"));
  EXPECT_THAT(called("http-2"), HasSubstr("\"http-2\" is what http.listeners[0] is called"));
  EXPECT_THAT(called("http-3"), IsEmpty());
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

// The default stands in its place, of which nobody wants to know anything.
TEST(Config, OfWhatCouldNotBeReadNothingMoreIsSaid) {
  EXPECT_EQ(faults_of(with_sets({"listeners=[{\"port\":-1}]", "http.port=1883"})),
            "--set: listeners[0].port: must be 0 to 65,535, not -1\n");
  EXPECT_EQ(faults_of(with_sets({"http.port=x", "listeners[0].port=9464"})),
            "--set: http.port: must be a whole number, not \"x\"\n");
  // On all addresses, the fault would be the other one's.
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

TEST(Config, AUnixListenerHasAPathAndNeedsNoPort) {
  const auto with_listeners = [](const std::string& list) {
    return faults_of(with_sets({"listeners=" + list}));
  };
  EXPECT_THAT(with_listeners(R"([{"transport":"unix","socket":"/run/a"},
                                 {"transport":"unix","socket":"/run/b","socket_mode":"600"}])"),
              IsEmpty());
  EXPECT_THAT(with_listeners(R"([{"transport":"unix"}])"),
              HasSubstr("listeners[0].socket: is needed"));
  EXPECT_THAT(with_listeners(R"([{"socket":"/run/a"}])"),
              HasSubstr("listeners[0].socket: has a meaning for unix alone"));
  EXPECT_THAT(with_listeners(R"([{"transport":"unix","socket":"/run/a","socket_mode":"rw"}])"),
              HasSubstr("listeners[0].socket_mode: must be like"));
  EXPECT_THAT(with_listeners(R"([{"transport":"unix","socket":"/run/a"},
                                 {"transport":"unix","socket":"/run/a","port":7}])"),
              HasSubstr("listeners[1].socket: is that of \"unix\" too"));
  EXPECT_THAT(faults_of(with_sets({R"(listeners=[{"transport":"unix","socket":"/run/a"}])",
                                   "local.socket=/run/a"})),
              HasSubstr("listeners[0].socket: is local.socket too"));
}

TEST(Config, FurtherAddressesOfHttpAreJudgedLikeTheFirst) {
  const auto with_listeners = [](const std::string& list) {
    return faults_of(with_sets({"http.listeners=" + list}));
  };
  EXPECT_THAT(with_listeners(R"([{"port":9001,"serves":["metrics"]},{"port":9002}])"), IsEmpty());
  EXPECT_THAT(with_listeners(R"([{"host":"localhost"}])"), IsEmpty());
  EXPECT_THAT(with_listeners(R"([{"port":9001},{"port":9001}])"),
              HasSubstr("http.listeners[1].port: is taken by \"http-2\""));
  EXPECT_THAT(with_listeners(R"([{"port":1883}])"),
              HasSubstr("listeners[0].port: is taken by \"http-2\""));
  EXPECT_THAT(with_listeners(R"([{"host":"0.0.0.0"}])"),
              HasSubstr("http.listeners[0].host: 0.0.0.0 is beyond"));
  EXPECT_THAT(with_listeners(R"([{"serves":["page"]}])"),
              HasSubstr("http.listeners[0].serves: must be metrics, topics or api"));
  EXPECT_THAT(with_listeners(R"([{"serves":[]}])"),
              HasSubstr("http.listeners[0].serves: at least one is needed"));
  EXPECT_THAT(with_listeners(R"([{"tls":{"key_file":"/k"}}])"),
              HasSubstr("http.listeners[0].tls.certificate_file: is needed"));
  EXPECT_THAT(with_listeners(R"([{"tls":{"certificate_file":"/nonexistent"}}])"),
              HasSubstr("http.listeners[0].tls.key_file: is needed for TLS"));
}

TEST(Config, RefusesToListenBeyondLoopbackWithoutAuthentication) {
  const std::string open = "listeners[0].host=0.0.0.0";
  EXPECT_THAT(faults_of(with_sets({open})), HasSubstr("listeners[0].host: 0.0.0.0 is beyond"));
  EXPECT_THAT(faults_of(with_sets({open})), HasSubstr("access.jwt or access.http"));
  EXPECT_THAT(faults_of(with_sets({"http.host=::"})), HasSubstr("http.host: :: is beyond"));
  EXPECT_THAT(faults_of(with_sets({open, "access.allow_anonymous=true"})), IsEmpty());
  const Folder folder;
  const std::string file = folder.write("passwd", "# nobody yet\n");
  const auto loaded = with_sets({open, "access.password_file=" + file});
  EXPECT_THAT(faults_of(loaded), IsEmpty());
  EXPECT_FALSE(loaded.config.access.anonymous_allowed());
  const auto by_scram = with_sets({open, "access.scram_file=" + file});
  EXPECT_THAT(faults_of(by_scram), IsEmpty());
  EXPECT_FALSE(by_scram.config.access.anonymous_allowed());
}

TEST(Config, KnowsWhatLoopbackIs) {
  for (const char* host : {"127.0.0.1", "127.9.9.9", "::1"}) EXPECT_TRUE(is_loopback(host)) << host;
  for (const char* host : {"0.0.0.0", "::", "10.0.0.1", "fe80::1", "example.org"}) {
    EXPECT_FALSE(is_loopback(host)) << host;
  }
}

TEST(Config, WritesAddressesAsPeopleDo) {
  EXPECT_EQ(address_text("127.0.0.1", 1883), "127.0.0.1:1883");
  EXPECT_EQ(address_text("::1", 8083), "[::1]:8083");
}

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

TEST(Config, TlsNeedsReadableFilesAndOthersNone) {
  const auto missing = with_sets({R"(listeners=[{"transport": "tls"}])"});
  EXPECT_THAT(faults_of(missing), HasSubstr("listeners[0].tls.certificate_file: is needed"));
  EXPECT_THAT(faults_of(missing), HasSubstr("listeners[0].tls.key_file: is needed"));
  EXPECT_THAT(faults_of(with_sets({"listeners[1].tls.key_file=/x"})),
              HasSubstr("has no meaning for ws; did you mean wss?"));
  EXPECT_THAT(faults_of(with_sets({"listeners[0].transport=tls", "listeners[0].tls.key_file=/no",
                                   "listeners[0].tls.certificate_file=/no"})),
              HasSubstr("cannot read \"/no\""));
}

TEST(Config, EachFurtherCertificateNeedsItsKey) {
  const std::string listener = R"({"listeners": [{"transport": "tls", "tls": {
      "certificate_file": "/dev/null", "key_file": "/dev/null",
      "more_certificate_files": ["/dev/null", "/dev/null"], "more_key_files": )";
  EXPECT_THAT(faults_of(with_file(listener + R"(["/dev/null"]}}]})")),
              HasSubstr("tls.more_key_files: must name one key for each"));
  EXPECT_THAT(faults_of(with_file(listener + R"(["/dev/null", "/no"]}}]})")),
              HasSubstr("tls.more_key_files[1]: cannot read \"/no\""));
  EXPECT_THAT(faults_of(with_file(listener + R"(["/dev/null", "/dev/null"]}}]})")), IsEmpty());
}

TEST(Config, EveryFileThatCannotBeReadIsNamed) {
  const auto faults =
      faults_of(with_sets({"access.jwt.keys_file=/no/keys", "access.jwt.secret_file=/no/secret",
                           "access.password_file=/no/passwords"}));
  EXPECT_THAT(faults, HasSubstr("access.jwt.keys_file: cannot read \"/no/keys\""));
  EXPECT_THAT(faults, HasSubstr("access.jwt.secret_file: cannot read \"/no/secret\""));
  EXPECT_THAT(faults, HasSubstr("access.password_file: cannot read \"/no/passwords\""));
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

TEST(Config, DeepNestingEndsInAFault) {
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += "{\"http\":";
  EXPECT_FALSE(with_file(text).ok());
  EXPECT_FALSE(with_file("{\"listeners\":" + std::string(100'000, '[') + "}").ok());
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
