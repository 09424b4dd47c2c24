// Which addresses a range contains, and what is no range.
#include "server/config/address_range.hpp"

#include <gtest/gtest.h>

namespace millrace::server {
namespace {

bool contains(const char* range, const char* address) {
  return AddressRange::parse(range).value().contains(address);
}

TEST(AddressRange, OfOneAddressContainsItAlone) {
  EXPECT_TRUE(contains("10.1.2.3", "10.1.2.3"));
  EXPECT_FALSE(contains("10.1.2.3", "10.1.2.4"));
  EXPECT_TRUE(contains("::1", "0:0::1"));
}

TEST(AddressRange, EndsWhereItsPrefixSays) {
  EXPECT_TRUE(contains("10.1.2.0/23", "10.1.3.255"));
  EXPECT_FALSE(contains("10.1.2.0/23", "10.1.4.0"));
  EXPECT_TRUE(contains("0.0.0.0/0", "255.1.1.1"));
  EXPECT_FALSE(contains("0.0.0.0/0", "::1"));
  EXPECT_TRUE(contains("fd00::/9", "fd7f::1"));
  EXPECT_FALSE(contains("fd00::/9", "fd80::1"));
  EXPECT_TRUE(contains("::/0", "fd80::1"));
}

TEST(AddressRange, KnowsIPv4AddressesInIPv6Form) {
  EXPECT_TRUE(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
  EXPECT_FALSE(contains("10.0.0.0/8", "::10.1.2.3"));
  EXPECT_TRUE(contains("::ffff:10.0.0.0/104", "10.1.2.3"));
}

TEST(AddressRange, ContainsLinkLocalAddressesWhateverTheirInterface) {
  EXPECT_TRUE(contains("fe80::/10", "fe80::1%eth0"));
  EXPECT_TRUE(contains("fe80::1", "fe80::1%2"));
  EXPECT_FALSE(contains("fe80::1", "fe80::2%2"));
  EXPECT_FALSE(contains("::/0", "%eth0"));
  EXPECT_FALSE(AddressRange::parse("fe80::1%eth0"));
}

TEST(AddressRange, ContainsNothingThatIsNoAddress) {
  for (const char* address : {"", "unknown", "10.1.2", "10.1.2.3:80", "localhost"}) {
    EXPECT_FALSE(contains("0.0.0.0/0", address)) << address;
    EXPECT_FALSE(contains("::/0", address)) << address;
  }
}

TEST(AddressRange, IsRefusedWhereItsBitsSayMoreThanItsLength) {
  for (const char* text : {"10.0.0.1/8", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/8x",
                           "10.0.0.0/-1", "/8", "", "example.com", "fd00::1/64"}) {
    EXPECT_FALSE(AddressRange::parse(text)) << text;
  }
}

}  // namespace
}  // namespace millrace::server
