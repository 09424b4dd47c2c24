#include "server/app/settings.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/server/certificates.hpp"

namespace millrace::server {
namespace {

using test::Folder;
using testing::HasSubstr;

std::string faults_of(const std::string& password_file) {
  Config config;
  config.access.password_file = password_file;
  std::vector<ConfigFault> faults;
  EXPECT_EQ(make_settings(config, faults), nullptr);
  std::string text;
  for (const ConfigFault& fault : faults) text += fault.to_string() + "\n";
  return text;
}

TEST(Settings, ABrokenPasswordFileIsAFaultOfItsKey) {
  const Folder folder;
  EXPECT_THAT(faults_of(folder.write("passwd", "ann:secret\n")),
              HasSubstr("access.password_file: line 1: not a hash"));
  EXPECT_THAT(faults_of("/nonexistent"), HasSubstr("access.password_file: cannot read"));
}

TEST(Settings, TlsFilesThatCannotBeUsedAreFaultsOfTheirListener) {
  const Folder folder;
  test::make_certificate(folder, "one");
  test::make_certificate(folder, "other");
  Config config;
  config.listeners[1].transport = Transport::wss;
  config.listeners[1].tls.certificate_file = folder.path("one.pem");
  config.listeners[1].tls.key_file = folder.path("other.key");
  std::vector<ConfigFault> faults;
  EXPECT_EQ(make_settings(config, faults), nullptr);
  ASSERT_EQ(faults.size(), 1u);
  EXPECT_THAT(faults[0].to_string(), HasSubstr("listeners[1].tls.key_file: does not belong"));
}

TEST(Settings, OfAFaultyConfigurationTheFilesAreJudgedToo) {
  const Folder folder;
  Config config;
  config.access.password_file = folder.write("passwd", "ann:secret\n");
  config.access.scram_file = "/nonexistent";
  config.access.rules.resize(1);
  config.access.rules[0].filter = "##";  // no rule can be made of it
  std::vector<ConfigFault> faults = {{"access.rules[0].filter", "is not a topic filter", ""},
                                     {"access.scram_file", "cannot be read", ""}};
  EXPECT_EQ(make_settings(config, faults), nullptr);
  ASSERT_EQ(faults.size(), 3u) << "what was said already is not said again";
  EXPECT_THAT(faults[2].to_string(), HasSubstr("access.password_file: line 1: not a hash"));
}

TEST(Settings, AreMadeOfAConfigurationThatNamesNoFiles) {
  std::vector<ConfigFault> faults;
  EXPECT_NE(make_settings(Config{}, faults), nullptr);
  EXPECT_TRUE(faults.empty());
}

}  // namespace
}  // namespace millrace::server
