// What is unsafe about settings that are valid.
#include "server/app/warnings.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "server/app/settings.hpp"
#include "tests/server/certificates.hpp"
#include "tests/server/jwt_tokens.hpp"

namespace millrace::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string warnings(const Settings& settings, std::int64_t now_s = 0) {
  std::string text;
  for (const Warning& warning : warnings_of(settings, now_s)) {
    text += warning.path + ": " + warning.message + "\n";
  }
  return text;
}

Settings of(Config config) {
  return {std::move(config), nullptr, {}};
}

TEST(Warnings, AreNoneOfTheDefaults) {
  EXPECT_EQ(warnings(of(Config())), "");
}

TEST(Warnings, NameWhoMayComeInFromElsewhere) {
  Config config;
  config.listeners[0].host = "0.0.0.0";
  config.access.allow_anonymous = true;
  EXPECT_THAT(warnings(of(config)), HasSubstr("listeners[0]: beyond loopback, anyone"));
  config.http.host = "::";
  EXPECT_THAT(warnings(of(config)), HasSubstr("http.host: beyond loopback, anyone"));
  config.http.listeners.resize(1);
  config.http.listeners[0].host = "0.0.0.0";
  EXPECT_THAT(warnings(of(config)), HasSubstr("http.listeners[0]: beyond loopback, anyone"));
  config.access.allow_anonymous = false;
  config.access.password_file = "/nonexistent";
  EXPECT_THAT(warnings(of(config)),
              AllOf(HasSubstr("listeners[0]: passwords cross the network"),
                    HasSubstr("http.host: passwords cross the network"), Not(HasSubstr("anyone"))));
}

TEST(Warnings, NameWhatHttpSendsInClear) {
  Config config;
  config.http.host = "0.0.0.0";
  config.http.listeners.resize(1);
  config.http.listeners[0].host = "::";
  config.access.allow_anonymous = false;
  config.access.http_tokens.push_back({"scraper", "/nonexistent", {"metrics"}});
  EXPECT_EQ(
      warnings(of(config)),
      "http.host: tokens (access.http_tokens) cross the network to 0.0.0.0:9464 in clear: there "
      "is no TLS\n"
      "http.listeners[0]: tokens (access.http_tokens) cross the network to [::]:9465 in clear: "
      "there is no TLS\n");
  config.access.http_tokens.push_back({"admin", "/nonexistent", {"read", "manage"}});
  EXPECT_THAT(warnings(of(config)), HasSubstr("anybody may manage the server"));
  config.http.listeners[0].tls.certificate_file = "/nonexistent";
  EXPECT_THAT(warnings(of(config)),
              AllOf(HasSubstr("http.host: tokens"), Not(HasSubstr("http.listeners[0]"))));
  config.access.http_tokens.clear();
  config.access.scram_file = "/nonexistent";
  EXPECT_EQ(warnings(of(config)),
            "http.host: passwords cross the network to 0.0.0.0:9464 in clear: there is no TLS\n")
      << "HTTP asks for passwords though it cannot take these";
  config.listeners[0].host = "0.0.0.0";
  EXPECT_THAT(warnings(of(config)), Not(HasSubstr("listeners[0]")))
      << "over MQTT none of SCRAM's crosses the network";
  config.http.host = "127.0.0.1";
  EXPECT_EQ(warnings(of(config)), "");
}

TEST(Warnings, NameSecretsThatEverybodyMayRead) {
  const test::Folder folder;
  Config config;
  config.access.password_file = folder.write("passwd", "");
  ::chmod(config.access.password_file.c_str(), 0644);
  EXPECT_THAT(warnings(of(config)), HasSubstr("access.password_file: every user"));
  ::chmod(config.access.password_file.c_str(), 0640);
  EXPECT_EQ(warnings(of(config)), "");
}

TEST(Warnings, NameKeysOfTlsThatEverybodyMayRead) {
  const test::Folder folder;
  const std::string key = folder.write("key", "");
  Config config;
  config.http.listeners.resize(1);
  config.upstreams.resize(1);
  TlsConfig& mqtt = config.listeners[0].tls;
  TlsConfig& http = config.http.listeners[0].tls;
  const std::pair<std::string*, std::string> files[] = {
      {&mqtt.key_file, "listeners[0].tls.key_file"},
      {&mqtt.more_key_files.emplace_back(), "listeners[0].tls.more_key_files[0]"},
      {&mqtt.key_password_file, "listeners[0].tls.key_password_file"},
      {&http.key_file, "http.listeners[0].tls.key_file"},
      {&http.key_password_file, "http.listeners[0].tls.key_password_file"},
      {&config.upstreams[0].tls.key_file, "upstreams[0].tls.key_file"}};
  for (const auto& [file, path] : files) {
    *file = key;
    ::chmod(key.c_str(), 0644);
    EXPECT_EQ(warnings(of(config)),
              path + ": every user of this machine may read " + key + " (chmod o-r)\n");
    ::chmod(key.c_str(), 0640);
    EXPECT_EQ(warnings(of(config)), "");
    file->clear();
  }
}

TEST(Warnings, NameSecretsForTokensAndNotPublicKeys) {
  const test::Folder folder;
  Config config;
  const auto made = [&] {
    std::vector<ConfigFault> faults;
    const auto settings = make_settings(config, faults);
    EXPECT_TRUE(faults.empty());
    return settings;
  };
  config.access.jwt.keys_file = folder.write("keys", test::public_pem(test::make_ec()));
  ::chmod(config.access.jwt.keys_file.c_str(), 0644);
  EXPECT_EQ(warnings(*made()), "");
  folder.write("keys", R"({"kty":"oct","k":")" + to_base64url(std::string(32, 'k')) + R"("})");
  EXPECT_THAT(warnings(*made()), HasSubstr("access.jwt.keys_file: every user"));
  ::chmod(config.access.jwt.keys_file.c_str(), 0600);
  config.access.jwt.secret_file = folder.write("secret", std::string(32, 's'));
  ::chmod(config.access.jwt.secret_file.c_str(), 0644);
  EXPECT_THAT(warnings(*made()), HasSubstr("access.jwt.secret_file: every user"));
}

TEST(Warnings, NameProxiesThatAreEverybody) {
  Config config;
  config.listeners[0].proxy_protocol_from = {"10.0.0.0/8"};
  EXPECT_EQ(warnings(of(config)), "");
  config.listeners[0].proxy_protocol_from = {"10.0.0.0/8", "::/0"};
  EXPECT_THAT(warnings(of(config)),
              HasSubstr("listeners[0].proxy_protocol_from: ::/0 is everybody"));
}

TEST(Warnings, NameCertificatesThatExpireSoon) {
  const test::Folder folder;
  test::make_certificate(folder, "one");
  ::chmod(folder.path("one.key").c_str(), 0600);
  Config config;
  config.listeners[0].transport = Transport::tls;
  config.listeners[0].tls.certificate_file = folder.path("one.pem");
  config.listeners[0].tls.key_file = folder.path("one.key");
  std::vector<ConfigFault> faults;
  const auto settings = make_settings(config, faults);
  ASSERT_NE(settings, nullptr);
  const std::int64_t ends_s = settings->tls[0].certificate_ends_s;
  EXPECT_EQ(warnings(*settings, ends_s - 15 * 86'400), "");
  EXPECT_EQ(warnings(*settings, ends_s - 13 * 86'400 - 100),
            "listeners[0].tls.certificate_file: expires in 13 days\n");
  EXPECT_EQ(warnings(*settings, ends_s + 1), "listeners[0].tls.certificate_file: has expired\n");
}

TEST(Warnings, NameRevocationListsThatExpireSoon) {
  const test::Folder folder;
  test::make_certificate(folder, "one", "ec -pkeyopt ec_paramgen_curve:prime256v1",
                         "-nodes -days 7300");
  ::chmod(folder.path("one.key").c_str(), 0600);
  test::make_crl(folder, "one", "20350101000000Z");
  TlsConfig tls;
  tls.certificate_file = tls.client_ca_file = folder.path("one.pem");
  tls.key_file = folder.path("one.key");
  tls.client_certificate = ClientCertificate::required;
  tls.crl_file = folder.path("one.crl");
  Config config;
  config.listeners[0].transport = Transport::tls;
  config.listeners[0].tls = tls;
  config.http.listeners.resize(1);
  config.http.listeners[0].tls = tls;
  std::vector<ConfigFault> faults;
  const auto settings = make_settings(config, faults);
  ASSERT_NE(settings, nullptr);
  constexpr std::int64_t ends_s = 2'051'222'400;
  const auto of_both = [](const std::string& text) {
    const std::string line = "listeners[0].tls.crl_file: " + text +
                             ": without a newer list no client's certificate is accepted\n";
    return line + "http." + line;
  };
  EXPECT_EQ(warnings(*settings, ends_s - 2 * 86'400), "");
  EXPECT_EQ(warnings(*settings, ends_s - 86'400 - 100), of_both("expires in 1 days"));
  EXPECT_EQ(warnings(*settings, ends_s), of_both("has expired"));
}

}  // namespace
}  // namespace millrace::server
