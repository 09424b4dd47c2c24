#include "server/app/settings.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/server/files.hpp"

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

TEST(Settings, AreMadeOfAConfigurationThatNamesNoFiles) {
  std::vector<ConfigFault> faults;
  EXPECT_NE(make_settings(Config{}, faults), nullptr);
  EXPECT_TRUE(faults.empty());
}

}  // namespace
}  // namespace millrace::server
