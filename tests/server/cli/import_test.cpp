// `millrace import`, the real program, and what it makes of mosquitto.conf.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <initializer_list>
#include <nlohmann/json.hpp>

#include "server/cli/mosquitto_conf.hpp"
#include "server/config/config.hpp"
#include "tests/server/files.hpp"

namespace millrace::server {
namespace {

using test::Finished;
using test::Folder;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::ordered_json;

// What is made of a file with this text.
struct Made {
  explicit Made(const std::string& text, const Folder& folder = Folder()) {
    Imported imported = import_mosquitto(folder.write("mosquitto.conf", text), "");
    config = std::move(imported.config);
    for (const ImportNote& note : imported.notes) {
      std::string line = note.to_string();
      notes += line.substr(line.find("mosquitto.conf") == std::string::npos
                               ? 0
                               : line.find("mosquitto.conf")) +
               "\n";
    }
  }
  Json at(const std::string& pointer) const {
    return config.value(Json::json_pointer(pointer), Json());
  }

  Json config;
  std::string notes;
};

void expect_notes(const Made& made, std::initializer_list<const char*> lines) {
  for (const char* line : lines) EXPECT_THAT(made.notes, HasSubstr(line));
}

const char* const only_loopback = R"([{"transport":"tcp","host":"127.0.0.1","port":1883}])";

TEST(Import, WithoutAListenerServesThisMachineAndLetsEverybodyIn) {
  const Made made("# nothing\n");
  EXPECT_EQ(made.config.dump(),
            R"({"listeners":[{"transport":"tcp","host":"127.0.0.1","port":1883}],)"
            R"("access":{"allow_anonymous":true}})");
  EXPECT_EQ(made.notes, "");
}

TEST(Import, AListenerTakesAllAddressesAndNobodyWithoutAName) {
  const Made made("listener 1883\nlistener 9001 10.0.0.1\nprotocol websockets\n");
  EXPECT_EQ(made.at("/listeners").dump(),
            R"([{"transport":"tcp","host":"::","port":1883},)"
            R"({"transport":"ws","host":"10.0.0.1","port":9001,"path":["/","/mqtt"]}])");
  EXPECT_EQ(made.at("/access/allow_anonymous"), false);
  EXPECT_THAT(made.notes, HasSubstr("allow_anonymous is not said"));
}

TEST(Import, LinesBeforeTheFirstListenerAreOneToo) {
  const Made made("port 1884\nbind_address 127.0.0.1\nlistener 1885 ::1\nallow_anonymous true\n");
  EXPECT_EQ(made.at("/listeners/0/port"), 1884);
  EXPECT_EQ(made.at("/listeners/0/host"), "127.0.0.1");
  EXPECT_EQ(made.at("/listeners/1/port"), 1885);
  EXPECT_EQ(made.at("/listeners").size(), 2u);
  EXPECT_EQ(made.notes, "");
}

TEST(Import, MoreConnectionsThanAKeyTakesAreAsManyAsItTakes) {
  const Folder folder;
  const Made made(
      "allow_anonymous true\nlistener 1883 127.0.0.1\nmax_connections 50000000\n"
      "listener 1884 127.0.0.1\nmax_connections 7000000\n",
      folder);
  EXPECT_EQ(made.at("/listeners/0/connections_max"), 10'000'000);
  EXPECT_EQ(made.at("/connection/count_max"), 10'000'000);
  ConfigSources sources;
  sources.file = folder.write("millrace.json", made.config.dump());
  EXPECT_TRUE(load_config(sources).ok());
}

TEST(Import, AListenerThatSpeaksNoMqttIsLeftOut) {
  const Made made(
      "listener 1883 127.0.0.1\nlistener 8080 0.0.0.0\nprotocol http_api\nallow_anonymous true\n");
  EXPECT_EQ(made.at("/listeners").size(), 1u);
  EXPECT_EQ(made.at("/listeners/0/port"), 1883);
  EXPECT_THAT(made.notes, HasSubstr("mosquitto.conf:3: protocol http_api: is neither"));
}

TEST(Import, CertificatesMakeItTls) {
  const Made made(
      "listener 8883 0.0.0.0\ncafile /c/ca.crt\ncertfile /c/a.crt\nkeyfile /c/a.key\n"
      "require_certificate true\nuse_identity_as_username true\ncrlfile /c/crl\n"
      "tls_version tlsv1.3\nciphers_tls1.3 TLS_AES_128_GCM_SHA256\n"
      "listener 8084 0.0.0.0\nprotocol websockets\ncafile /c/ca.crt\ncertfile /c/b.crt\n"
      "keyfile /c/b.key\nallow_anonymous true\n");
  EXPECT_EQ(
      made.at("/listeners/0").dump(),
      R"({"transport":"tls","host":"0.0.0.0","port":8883,"tls":{"certificate_file":"/c/a.crt",)"
      R"("key_file":"/c/a.key","version_min":"1.3","cipher_suites":"TLS_AES_128_GCM_SHA256",)"
      R"("client_certificate":"required","client_ca_file":"/c/ca.crt","crl_file":"/c/crl",)"
      R"("user_from":"common_name"}})");
  EXPECT_EQ(made.at("/listeners/1/transport"), "wss");
  EXPECT_EQ(made.at("/listeners/1/tls/client_certificate"), Json()) << "it asks for none";
}

TEST(Import, AListenerOfWhichLinesAreAboutTlsIsNeverPlain) {
  const Made made(
      "listener 8883\ncafile /c/ca.crt\nrequire_certificate true\nuse_identity_as_username true\n"
      "crlfile /c/crl\ntls_version tlsv1.2\nciphers ECDHE+AESGCM\n");
  EXPECT_EQ(
      made.at("/listeners/0").dump(),
      R"({"transport":"tls","host":"::","port":8883,"tls":{"certificate_file":"","key_file":"",)"
      R"("version_min":"1.2","ciphers":"ECDHE+AESGCM","client_certificate":"required",)"
      R"("client_ca_file":"/c/ca.crt","crl_file":"/c/crl","user_from":"common_name"}})");
  expect_notes(made, {":2: cafile", ":3: require_certificate", ":4: use_identity_as_username",
                      ":5: crlfile", ":6: tls_version", ":7: ciphers",
                      "needs certfile and keyfile: the listener uses TLS here"});
}

TEST(Import, EachLineAboutTlsIsEnough) {
  for (const char* line :
       {"certfile /c", "keyfile /c", "cafile /c", "capath /c", "crlfile /c", "ciphers x",
        "ciphers_tls1.3 x", "tls_version tlsv1.1", "require_certificate true",
        "use_identity_as_username 1", "use_subject_as_username true", "psk_hint x",
        "dhparamfile /c", "tls_engine x", "tls_keyform pem"}) {
    const Made made(std::string("listener 8883\n") + line + "\n");
    EXPECT_EQ(made.at("/listeners/0/transport"), "tls") << line;
    EXPECT_THAT(made.notes, HasSubstr("mosquitto.conf:2: ")) << line;
    const Made web("listener 8084\nprotocol websockets\n" + std::string(line) + "\n");
    EXPECT_EQ(web.at("/listeners/0/transport"), "wss") << line;
  }
  const Made plain("listener 1883\nrequire_certificate false\nuse_identity_as_username false\n");
  EXPECT_EQ(plain.at("/listeners/0/transport"), "tcp");
}

// Mosquitto reads the first word, and knows these words alone.
TEST(Import, WhatIsTrueIsReadAsMosquittoReadsIt) {
  const Made made(
      "listener 8883\ncertfile /a\nkeyfile /b\ncafile /c\nrequire_certificate true # always\n"
      "max_qos 1 at most\nretain_available no\n");
  EXPECT_EQ(made.at("/listeners/0/tls/client_certificate"), "required");
  EXPECT_EQ(made.at("/mqtt").dump(), R"({"qos_max":1})");
  EXPECT_THAT(made.notes, HasSubstr("retain_available no: is neither true nor false"));
  const Made unclear("listener 8883\ncertfile /a\nkeyfile /b\nrequire_certificate yes\n");
  EXPECT_EQ(unclear.at("/listeners/0/tls/client_certificate"), "required");
  EXPECT_THAT(unclear.notes,
              HasSubstr("require_certificate yes: is neither true nor false; it is"));
}

TEST(Import, WhoIsNamedByACertificateHasToShowOne) {
  const Made made(
      "listener 8883\ncertfile /a\nkeyfile /b\ncafile /c\nuse_subject_as_username true\n"
      "allow_anonymous true\n");
  EXPECT_EQ(made.at("/listeners/0/tls/client_certificate"), "required");
  EXPECT_EQ(made.at("/listeners/0/tls/user_from"), "subject");
  EXPECT_THAT(made.notes, HasSubstr(":5: use_subject_as_username true: asks each client for"));
  const Made both(
      "listener 8883\ncertfile /a\nkeyfile /b\ncafile /c\nrequire_certificate true\n"
      "use_identity_as_username true\nuse_subject_as_username true\n");
  EXPECT_EQ(both.at("/listeners/0/tls/user_from"), "common_name");
  EXPECT_THAT(both.notes, HasSubstr(":7: use_subject_as_username true: use_identity"));
}

TEST(Import, WhatHasNoEffectWithoutClientsCertificatesIsNoted) {
  const Made made("listener 8883\ncertfile /a\nkeyfile /b\ncafile /c\ncrlfile /d\n");
  EXPECT_EQ(made.at("/listeners/0/tls").dump(), R"({"certificate_file":"/a","key_file":"/b"})");
  EXPECT_THAT(made.notes, AllOf(HasSubstr(":4: cafile /c: without require_certificate"),
                                HasSubstr(":5: crlfile /d: without require_certificate")));
}

TEST(Import, AUnixSocketSaysThatItHasNoTls) {
  const Made made("listener 0 /run/m.sock\ncertfile /a\nkeyfile /b\nprotocol websockets\n");
  EXPECT_EQ(made.at("/listeners").dump(), R"([{"transport":"unix","socket":"/run/m.sock"}])");
  EXPECT_THAT(made.notes, AllOf(HasSubstr(":2: certfile /a: a Unix socket has no TLS here"),
                                HasSubstr(":1: listener 0 /run/m.sock: a Unix socket carries")));
}

TEST(Import, LinesOfAListenerThatIsLeftOutAreLeftOut) {
  const Made made(
      "listener 1883 127.0.0.1\nlistener 8080 0.0.0.0\nprotocol http_api\ncertfile /a\n"
      "keyfile /b\nlistener web\nmax_connections 5\nlistener 0\nallow_anonymous true\n");
  EXPECT_EQ(made.at("/listeners").dump(), only_loopback);
  expect_notes(made, {":6: listener web: has no port", ":8: listener 0: has port 0, and no path"});
  const Made none("listener web\n");
  EXPECT_EQ(none.at("/listeners").dump(), "[]");
  EXPECT_EQ(none.at("/access/allow_anonymous"), false);
}

TEST(Import, LinesBeforeTheFirstListenerAreNoted) {
  const Made made(
      "require_certificate true\ncafile /c\nmax_connections 5\nlistener 1883 127.0.0.1\n"
      "allow_anonymous true\n");
  EXPECT_EQ(made.at("/listeners").dump(), only_loopback);
  expect_notes(made, {":1: require_certificate true: stands before the first",
                      ":2: cafile /c: stands before", ":3: max_connections 5: stands before"});
}

TEST(Import, ASettingThatIsGlobalHereIsNotedWhereListenersDiffer) {
  const Made made(
      "allow_anonymous true\nlistener 1883 127.0.0.1\nmax_qos 1\nlistener 1884 ::1\nmax_qos 2\n");
  EXPECT_EQ(made.at("/mqtt/qos_max"), 1);
  EXPECT_THAT(made.notes, HasSubstr(":5: max_qos 2: there is one mqtt.qos_max for all listeners"));
  EXPECT_THAT(Made("listener 1883\nsocket_domain ipv6\n").notes,
              HasSubstr("socket_domain ipv6: without an address, IPv4 comes in as well"));
}

TEST(Import, OfTwoLimitsOfAPacketTheLowerHolds) {
  EXPECT_EQ(Made("max_packet_size 1000\nmessage_size_limit 0\n").at("/packet_bytes_max"), 1000);
  EXPECT_EQ(Made("message_size_limit 1\nmax_packet_size 0\n").at("/packet_bytes_max"), 65'537);
}

TEST(Import, ClientsWithoutAnIdentifierComeInAndThatIsNoted) {
  EXPECT_THAT(Made("allow_zero_length_clientid false\n").notes,
              HasSubstr("a client without an identifier is given one"));
  EXPECT_EQ(Made("allow_zero_length_clientid true\n").notes, "");
}

TEST(Import, ABridgeOfWhichLinesAreAboutTlsIsNeverPlain) {
  for (const char* line : {"bridge_capath /c", "bridge_psk 12", "bridge_identity x",
                           "bridge_tls_version tlsv1.2", "bridge_tls_use_os_certs true"}) {
    const Made made(std::string("connection x\naddress 10.0.0.1\ntopic a\n") + line + "\n");
    EXPECT_EQ(made.at("/upstreams/0/addresses/0"), "mqtts://10.0.0.1:1883") << line;
    EXPECT_THAT(made.notes, HasSubstr("mosquitto.conf:4: bridge_")) << line;
  }
}

TEST(Import, ABridgeWithBridgeInsecureAloneIsNotPlainEither) {
  const Made made("connection x\naddress 10.0.0.1\ntopic a\nbridge_insecure true\n");
  EXPECT_EQ(made.at("/upstreams/0/addresses").dump(), R"(["mqtts://10.0.0.1:1883"])");
  EXPECT_EQ(made.at("/upstreams/0/tls").dump(), R"({"verify":"signer"})");
}

TEST(Import, ALocalUsernameOfABridgeIsNoted) {
  const Made made("connection x\naddress 10.0.0.1\ntopic a\nlocal_username link\n");
  EXPECT_THAT(made.notes, HasSubstr(":4: local_username link: a link is no client here"));
}

TEST(Import, LimitsAreKeys) {
  const Made made(
      "max_inflight_messages 0\nmax_queued_messages 5000\nmax_queued_bytes 1048576\n"
      "max_packet_size 100000\nmax_keepalive 600\nsys_interval 0\nretain_available false\n"
      "persistent_client_expiration 2w\nmax_connections 50\nmax_qos 1\nmax_topic_alias 3\n");
  EXPECT_EQ(made.at("/inflight_max"), 65535);
  EXPECT_EQ(made.at("/session").dump(),
            R"({"queue_messages":5000,"queue_bytes":1048576,"expiry_max_seconds":1209600})");
  EXPECT_EQ(made.at("/packet_bytes_max"), 100000);
  EXPECT_EQ(made.at("/mqtt").dump(),
            R"({"keep_alive_max_seconds":600,"retain_available":false,"qos_max":1})");
  EXPECT_EQ(made.at("/sys/interval_seconds"), 0);
  EXPECT_EQ(made.at("/connection/count_max"), 50);
  EXPECT_EQ(made.at("/listeners/0/connections_max"), 50);
  EXPECT_EQ(made.at("/topic_alias_maximum/in"), 3);
  EXPECT_EQ(made.notes, "");
}

TEST(Import, BridgesAreUpstreams) {
  const Made made(
      "connection cloud\naddress broker.example:8883 standby.example\nbridge_cafile /ca.pem\n"
      "remote_username site7\nremote_password hush\nremote_clientid me\ncleansession true\n"
      "keepalive_interval 30\nrestart_timeout 5 90\nbridge_protocol_version mqttv311\n"
      "topic sensors/# out 1 \"\" site7/\ntopic orders/# in 2\ntopic all/# both\n"
      "topic \"\" out 0 here/state there/state\n"
      "connection plain\naddress 10.0.0.1\ntopic a\nbridge_outgoing_retain false\n"
      "listener 1883 127.0.0.1\nallow_anonymous true\n");
  EXPECT_EQ(
      made.at("/upstreams/0").dump(),
      R"({"name":"cloud","addresses":["mqtts://broker.example:8883","mqtts://standby.example:1883"],)"
      R"("user":"site7","client_id":"me","clean":true,"keep_alive_seconds":30,)"
      R"("retry_max_seconds":90,"version":"3.1.1","tls":{"ca_file":"/ca.pem"},"rules":[)"
      R"({"direction":"out","filter":"sensors/#","remote_prefix":"site7/","qos_max":1},)"
      R"({"direction":"in","filter":"orders/#"},)"
      R"({"direction":"both","filter":"all/#","qos_max":0},)"
      R"({"direction":"out","filter":"state","local_prefix":"here/","remote_prefix":"there/",)"
      R"("qos_max":0}]})");
  EXPECT_EQ(made.at("/upstreams/1").dump(),
            R"({"name":"plain","addresses":["mqtt://10.0.0.1:1883"],"rules":[)"
            R"({"direction":"out","filter":"a","qos_max":0,"retained":false}]})");
  EXPECT_EQ(made.at("/listeners/0/port"), 1883);
  EXPECT_THAT(made.notes, AllOf(HasSubstr("mosquitto.conf:5: remote_password ...: put it into"),
                                Not(HasSubstr("hush"))));
}

TEST(Import, WhatABridgeCannotHaveIsNoted) {
  const Made made(
      "topic a out 0\nconnection x\ntopic a sideways\ntopic a out 3\n"
      "topic \"\" out 0 here/a there/b\nstart_type lazy\nbridge_psk 12\nround_robin true\n");
  EXPECT_THAT(made.notes, AllOf(HasSubstr("mosquitto.conf:1: topic a out 0: belongs to a bridge"),
                                HasSubstr("mosquitto.conf:2: connection x: has no address"),
                                HasSubstr("mosquitto.conf:2: connection x: has no topic"),
                                HasSubstr("mosquitto.conf:3: topic a sideways: \"sideways\" is")));
  EXPECT_THAT(made.notes, AllOf(HasSubstr("mosquitto.conf:4: topic a out 3: has no QoS"),
                                HasSubstr("mosquitto.conf:5: topic"),
                                HasSubstr("mosquitto.conf:6: start_type lazy: a link is always"),
                                HasSubstr("mosquitto.conf:7: bridge_psk ...: links are secured"),
                                HasSubstr("mosquitto.conf:8: round_robin true: ")));
}

TEST(Import, AListenerOfNoPortIsAUnixSocket) {
  const Made made("listener 0 /run/mosquitto.sock\nallow_anonymous true\n");
  EXPECT_EQ(made.at("/listeners").dump(),
            R"([{"transport":"unix","socket":"/run/mosquitto.sock"}])");
  EXPECT_EQ(made.notes, "");
}

TEST(Import, WhatPersistsIsKeptInTheStore) {
  const Made made(
      "persistence true\npersistence_location /var/lib/mosquitto/\nautosave_interval 9\n");
  EXPECT_EQ(made.at("/store/path"), "/var/lib/mosquitto/millrace-store");
  EXPECT_THAT(made.notes, HasSubstr("mosquitto.db is not read"));
  EXPECT_EQ(Made("persistence true\n").at("/store/path"), "millrace-store");
  const Made none("persistence false\npersistence_location /var/lib/mosquitto/\n");
  EXPECT_FALSE(none.config.contains("store"));
}

TEST(Import, TheMemoryLimitIsTheServers) {
  EXPECT_EQ(Made("memory_limit 1000000000\n").at("/memory/bytes_max"), 1'000'000'000);
  EXPECT_FALSE(Made("memory_limit 0\n").config.contains("memory"));
}

TEST(Import, LogTypesAddUpToALevel) {
  EXPECT_EQ(Made("log_type error\nlog_type warning\n").at("/log/level"), "warn");
  EXPECT_EQ(Made("log_type error\nlog_type notice\n").at("/log/level"), "info");
  EXPECT_EQ(Made("log_type all\nlog_type error\n").at("/log/level"), "debug");
  EXPECT_EQ(Made("log_dest none\nlog_type all\n").at("/log/level"), "off");
  EXPECT_THAT(Made("log_dest file /var/log/x\n").notes, HasSubstr("standard error"));
}

TEST(Import, NamesEachLineWithoutACounterpartAndWhy) {
  const Made made(
      "persistence true\npersistence_location /var/lib/mosquitto/\npid_file /run/x.pid\n"
      "connection other\naddress broker.example.com\ntopic # both 0\nremote_password secret\n"
      "auth_plugin /usr/lib/x.so\nauth_opt_backends files\nlistener 0 /run/mosquitto.sock\n"
      "nonsense 1\ntls_version tlsv1.1\n");
  EXPECT_THAT(made.notes, AllOf(HasSubstr("mosquitto.conf:1: persistence true: it is kept in"),
                                HasSubstr("mosquitto.conf:3: pid_file /run/x.pid: "),
                                Not(HasSubstr("connection other")), Not(HasSubstr("topic #"))));
  EXPECT_THAT(made.notes, AllOf(HasSubstr("mosquitto.conf:8: auth_plugin /usr/lib/x.so: "),
                                HasSubstr("mosquitto.conf:9: auth_opt_backends files: "),
                                HasSubstr("mosquitto.conf:11: nonsense 1: mosquitto 2.0 has no"),
                                HasSubstr("mosquitto.conf:12: tls_version tlsv1.1: TLS 1.2")));
  EXPECT_THAT(made.notes, AllOf(HasSubstr("mosquitto.conf:7: remote_password ...:"),
                                Not(HasSubstr("secret")), Not(HasSubstr(":2:"))));
}

TEST(Import, ReadsTheRulesThatItNames) {
  const Folder folder;
  folder.write("acl", "user ann\ntopic write a/#\nbroken\n");
  const Made made(
      "listener 1883\nallow_anonymous false\npassword_file /etc/passwd.there\nacl_file " +
          folder.path("acl") + "\n",
      folder);
  EXPECT_EQ(
      made.at("/access").dump(),
      R"({"allow_anonymous":false,"password_file":"/etc/passwd.there","rules":)"
      R"([{"effect":"allow","user":"ann","action":"publish","filter":"a/#"}],"otherwise":"deny"})");
  EXPECT_THAT(made.notes,
              AllOf(HasSubstr("acl:3: broken: "), HasSubstr("passwd.there: cannot be read")));
}

TEST(Import, WithoutItsRulesNobodyMayDoAnything) {
  const Made made("listener 1883\nacl_file /nobody/is/here\n");
  EXPECT_EQ(made.at("/access/rules").dump(), "[]");
  EXPECT_EQ(made.at("/access/otherwise"), "deny");
  EXPECT_THAT(made.notes, HasSubstr("cannot be read here"));
}

TEST(Import, FindsTheFilesOfAContainerBesideTheConfiguration) {
  const Folder folder;
  folder.write("acl", "topic write a\n");
  const Made made("acl_file /mosquitto/config/acl\n", folder);
  EXPECT_EQ(made.at("/access/rules").size(), 1u);
}

TEST(Import, LooksBelowTheRootThatItIsGiven) {
  const Folder folder;
  std::filesystem::create_directories(folder.path("root/mosquitto"));
  folder.write("root/mosquitto/rules", "topic write a\n");
  const std::string file = folder.write("mosquitto.conf", "acl_file /mosquitto/rules\n");
  EXPECT_EQ(import_mosquitto(file, folder.path("root")).config["access"]["rules"].size(), 1u);
  EXPECT_EQ(import_mosquitto(file, "").config["access"]["rules"].size(), 0u);
}

TEST(Import, IncludesTheFilesOfAFolderInTheirOrder) {
  const Folder folder;
  std::filesystem::create_directories(folder.path("conf.d"));
  folder.write("conf.d/b.conf", "max_qos 1\n");
  folder.write("conf.d/a.conf", "listener 1885 127.0.0.1\n");
  folder.write("conf.d/c.txt", "listener 1886\n");
  const Made made("include_dir " + folder.path("conf.d") + "\ninclude_dir /nobody\n", folder);
  EXPECT_EQ(made.at("/listeners").size(), 1u);
  EXPECT_EQ(made.at("/listeners/0/port"), 1885);
  EXPECT_EQ(made.at("/mqtt/qos_max"), 1);
  EXPECT_THAT(made.notes, HasSubstr("include_dir /nobody: the folder is not there"));
}

// Ten files that each include their own folder: read once each, not ten times at each depth.
TEST(Import, IncludesAFolderOnce) {
  const Folder folder;
  const std::string inside = folder.path("conf.d");
  std::filesystem::create_directories(inside);
  for (int i = 0; i < 10; ++i) {
    folder.write("conf.d/" + std::to_string(i) + ".conf", "include_dir " + inside + "\n");
  }
  const Made made("include_dir " + inside + "\n", folder);
  std::size_t count = 0;
  const std::string why = "the folder was included before";
  for (auto at = made.notes.find(why); at != std::string::npos; at = made.notes.find(why, at + 1)) {
    ++count;
  }
  EXPECT_EQ(count, 10u);
}

TEST(Import, OneAnswerForAllListenersIsTheStricter) {
  const Made made(
      "per_listener_settings true\nlistener 1883 127.0.0.1\nallow_anonymous true\n"
      "listener 1884\nallow_anonymous false\npassword_file /p\nlistener 1885\npassword_file /q\n");
  EXPECT_EQ(made.at("/access/allow_anonymous"), false);
  EXPECT_EQ(made.at("/access/password_file"), "/p");
  EXPECT_THAT(made.notes, AllOf(HasSubstr("differs between listeners"), HasSubstr("and it is /p")));
}

TEST(Import, AListenerThatSaysNothingLetsNobodyInWithoutAName) {
  const Made made(
      "per_listener_settings true\nlistener 1883 127.0.0.1\nallow_anonymous true\n"
      "listener 1884\npassword_file /p\n");
  EXPECT_EQ(made.at("/access/allow_anonymous"), false);
  EXPECT_THAT(made.notes, HasSubstr("true for some listeners alone"));
}

// allow_anonymous before the first listener is the default listener's; a repeated line counts for one
// listener.
TEST(Import, EachListenerHasToLetEverybodyIn) {
  for (const char* text :
       {"per_listener_settings true\nallow_anonymous true\nlistener 1883\n",
        "per_listener_settings true\nlistener 1883\nallow_anonymous true\nallow_anonymous true\n"
        "listener 1884\n"}) {
    const Made made(text);
    EXPECT_EQ(made.at("/access/allow_anonymous"), false) << text;
    EXPECT_THAT(made.notes, HasSubstr("true for some listeners alone"));
  }
  EXPECT_EQ(
      Made("per_listener_settings true\nallow_anonymous true\n").at("/access/allow_anonymous"),
      true);
}

TEST(Import, FilesOfSomeListenersHoldForAllAndThatIsNoted) {
  const Made made(
      "per_listener_settings true\nlistener 1883\npassword_file /p\nlistener 1884\nacl_file /a\n");
  EXPECT_THAT(made.notes, AllOf(HasSubstr("password_file stands for some listeners alone"),
                                HasSubstr("acl_file stands for some listeners alone")));
  const Made same(
      "per_listener_settings true\nlistener 1883\npassword_file /p\nlistener 1884\n"
      "password_file /p\n");
  EXPECT_THAT(same.notes, Not(HasSubstr("for some listeners alone")));
}

TEST(ImportProgram, PrintsAConfigurationThatCheckAccepts) {
  const Folder folder;
  folder.write("users", "");
  const std::string file =
      folder.write("mosquitto.conf",
                   "listener 1883 127.0.0.1\nallow_anonymous true\npersistence true\nmax_qos 1\n");
  const std::string made = folder.path("millrace.json");
  const Finished finished = test::run(MILLRACE_BINARY " import " + file + " >" + made +
                                      " && " MILLRACE_BINARY " check --config " + made);
  EXPECT_EQ(finished.code, 0) << finished.output;
  EXPECT_THAT(finished.output, AllOf(HasSubstr(file + ":3: persistence true: "),
                                     HasSubstr("tcp on 127.0.0.1:1883")));
}

TEST(ImportProgram, SaysWhatTheServerWouldNotAccept) {
  const Folder folder;
  const std::string file = folder.write("mosquitto.conf", "listener 1883 broker.example.com\n");
  const Finished finished = test::run(MILLRACE_BINARY " import " + file);
  EXPECT_EQ(finished.code, 0);
  EXPECT_THAT(finished.output, AllOf(HasSubstr("is a name: put its address there"),
                                     HasSubstr("to be mended: listeners[0].host")));
}

TEST(ImportProgram, SaysThatTlsLacksItsCertificate) {
  const Folder folder;
  const std::string file =
      folder.write("mosquitto.conf", "listener 8883 127.0.0.1\nrequire_certificate true\n");
  const Finished finished = test::run(MILLRACE_BINARY " import " + file);
  EXPECT_EQ(finished.code, 0);
  EXPECT_THAT(finished.output,
              AllOf(HasSubstr("to be mended: listeners[0].tls.certificate_file: is needed for TLS"),
                    HasSubstr("to be mended: listeners[0].tls.client_ca_file: is needed")));
}

TEST(ImportProgram, NeedsAFileThatItCanRead) {
  EXPECT_EQ(test::run(MILLRACE_BINARY " import").code, 2);
  const Finished finished = test::run(MILLRACE_BINARY " import /nobody/is/here");
  EXPECT_EQ(finished.code, 1);
  EXPECT_THAT(finished.output, HasSubstr("cannot read /nobody/is/here"));
}

}  // namespace
}  // namespace millrace::server
