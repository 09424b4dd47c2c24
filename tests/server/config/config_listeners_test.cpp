// Listeners, of MQTT and of HTTP.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/server/config/loaded.hpp"

namespace millrace::server {
namespace {

using test::Folder;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(Config, ListenersMayBeEmptyIfLocalProcessesAreServed) {
  EXPECT_THAT(faults_of(with_file(R"({"listeners": []})")),
              HasSubstr("unless local.socket is set"));
  const auto loaded = with_file(R"({"listeners": [], "local": {"socket": "/tmp/x.sock"}})");
  EXPECT_THAT(faults_of(loaded), IsEmpty());
  EXPECT_TRUE(loaded.config.listeners.empty());
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

}  // namespace
}  // namespace millrace::server
