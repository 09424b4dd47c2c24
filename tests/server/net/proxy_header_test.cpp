// The header of a TCP proxy: what it says, and what is none.
#include "server/net/proxy_header.hpp"

#include <gtest/gtest.h>

#include <string>

#include "server/net/forwarded_for.hpp"

namespace millrace::server {
namespace {

using Status = ProxyHeader::Status;
using namespace std::string_literals;

ProxyHeader parse(const std::string& text) {
  return parse_proxy_header({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

const std::string signature = "\r\n\r\n\0\r\nQUIT\n"s;
const std::string tcp4_addresses = "\xC0\x00\x02\x01\xC0\x00\x02\x02\xDC\x04\x07\x5B"s;

std::string v2(const std::string& head, const std::string& body) {
  return signature + head + static_cast<char>(body.size() >> 8) +
         static_cast<char>(body.size() & 0xFF) + body;
}

TEST(ProxyHeader, OfVersion1NamesTheClient) {
  const std::string line = "PROXY TCP4 192.0.2.1 192.0.2.2 56324 1883\r\n";
  const auto header = parse(line + "behind it");
  EXPECT_EQ(header.status, Status::whole);
  EXPECT_EQ(header.bytes, line.size());
  ASSERT_TRUE(header.address);
  EXPECT_EQ(header.address->host, "192.0.2.1");
  EXPECT_EQ(header.address->port, 56324);
  EXPECT_EQ(parse("PROXY TCP6 2001:db8::1 ::1 1 2\r\n").address->host, "2001:db8::1");
  // However it is written, it is one address.
  EXPECT_EQ(parse("PROXY TCP6 2001:0DB8:0:0:0:0:0:1 ::1 1 2\r\n").address->host, "2001:db8::1");
}

TEST(ProxyHeader, OfVersion2NamesTheClient) {
  const std::string whole = v2("\x21\x11", tcp4_addresses + "\x03\x00\x04skip"s);
  const auto header = parse(whole + "behind it");
  EXPECT_EQ(header.status, Status::whole);
  EXPECT_EQ(header.bytes, whole.size());
  ASSERT_TRUE(header.address);
  EXPECT_EQ(header.address->host, "192.0.2.1");
  EXPECT_EQ(header.address->port, 56324);
  const auto v6 = parse(v2("\x21\x21", "\xFD"s + std::string(14, '\0') + "\x01" +
                                           std::string(16, '\0') + "\x00\x07\x00\x08"s));
  ASSERT_TRUE(v6.address);
  EXPECT_EQ(v6.address->host, "fd00::1");
  EXPECT_EQ(v6.address->port, 7);
}

TEST(ProxyHeader, OfAProxyThatSpeaksForItselfNamesNobody) {
  for (const std::string& text : {"PROXY UNKNOWN\r\n"s, "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"s,
                                  v2("\x20\x00"s, ""), v2("\x20\x11", tcp4_addresses),
                                  v2("\x21\x00"s, ""), v2("\x21\x31", std::string(216, 'x'))}) {
    const auto header = parse(text);
    EXPECT_EQ(header.status, Status::whole) << text;
    EXPECT_FALSE(header.address) << text;
  }
}

TEST(ProxyHeader, IsIncompleteUpToItsLastByte) {
  for (const std::string& whole :
       {"PROXY TCP4 192.0.2.1 192.0.2.2 56324 1883\r\n"s, v2("\x21\x11", tcp4_addresses)}) {
    for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
      EXPECT_EQ(parse(whole.substr(0, bytes)).status, Status::incomplete) << bytes;
    }
    EXPECT_EQ(parse(whole).status, Status::whole);
  }
}

TEST(ProxyHeader, ThatIsMalformedIsNone) {
  for (const std::string& text : {"\x10\x0C\x00\x04MQTT"s,
                                  "GET / HTTP/1.1\r\n"s,
                                  "PROXY \r\n"s,
                                  "PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n"s,
                                  "PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n"s,
                                  "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n"s,
                                  "PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n"s,
                                  "PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n"s,
                                  "PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n"s,
                                  "PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n"s,
                                  "PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n"s,
                                  "PROXY TCP4 1.1.1.1\0x 2.2.2.2 1 2\r\n"s,
                                  "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n"s,
                                  "PROXY TCP4 1.1.1.1 2.2.2.2 -1 2\r\n"s,
                                  "PROXY UNKNOWN " + std::string(200, 'x'),
                                  v2("\x11\x11", tcp4_addresses),
                                  v2("\x22\x11", tcp4_addresses),
                                  v2("\x21\x11", tcp4_addresses.substr(1)),
                                  v2("\x21\x21", tcp4_addresses),
                                  v2("\x21\x11", std::string(4000, 'x')),
                                  signature.substr(0, 11) + "x"}) {
    EXPECT_EQ(parse(text).status, Status::invalid) << text;
  }
}

TEST(ForwardedClient, IsTheLastThatNoProxyOfOursIs) {
  const auto proxies = address_ranges({"10.0.0.0/8", "::1"});
  EXPECT_EQ(forwarded_client("10.0.0.1", "192.0.2.1", proxies), "192.0.2.1");
  EXPECT_EQ(forwarded_client("10.0.0.1", "192.0.2.9, 192.0.2.1 ,10.0.0.2", proxies), "192.0.2.1");
  EXPECT_EQ(forwarded_client("::1", "2001:db8::1", proxies), "2001:db8::1");
}

TEST(ForwardedClient, OfAStrangerIsTheStranger) {
  const auto proxies = address_ranges({"10.0.0.0/8"});
  EXPECT_EQ(forwarded_client("192.0.2.7", "192.0.2.1", proxies), "192.0.2.7");
  EXPECT_EQ(forwarded_client("192.0.2.7", "10.0.0.1", proxies), "192.0.2.7");
}

TEST(ForwardedClient, IsTheProxyWhereTheFieldSaysNothingOfUse) {
  const auto proxies = address_ranges({"10.0.0.0/8"});
  for (const char* field : {"", " ", ",", "unknown", "192.0.2.1:80", "1.2.3.4 5.6.7.8", "x, "}) {
    EXPECT_EQ(forwarded_client("10.0.0.1", field, proxies), "10.0.0.1") << field;
  }
  EXPECT_EQ(forwarded_client("10.0.0.1", "192.0.2.1, evil, 10.0.0.2", proxies), "10.0.0.2");
  EXPECT_EQ(forwarded_client("10.0.0.1", "10.0.0.3", proxies), "10.0.0.3");
}

}  // namespace
}  // namespace millrace::server
