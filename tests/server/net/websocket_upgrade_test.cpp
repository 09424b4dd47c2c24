// The request that opens a WebSocket: who may, and what each answer says.
#include "server/net/websocket_upgrade.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace millrace::server {
namespace {

using ::testing::StartsWith;

ListenerConfig on(const std::string& host, std::vector<std::string> origins = {}) {
  ListenerConfig listener;
  listener.transport = Transport::ws;
  listener.host = host;
  listener.origins = std::move(origins);
  return listener;
}

struct Ask {
  std::string target = "/mqtt";
  std::string host = "Host: localhost:8083\r\n";
  std::string protocol = "Sec-WebSocket-Protocol: mqtt\r\n";
  std::string more = "";
};

std::string answer(const Ask& ask, const ListenerConfig& listener = on("127.0.0.1")) {
  const std::string request = "GET " + ask.target + " HTTP/1.1\r\n" + ask.host +
                              "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                              "Sec-WebSocket-Key: c2l4dGVlbiBieXRlcy4uLg==\r\n"
                              "Sec-WebSocket-Version: 13\r\n" +
                              ask.protocol + ask.more + "\r\n";
  WebSocketUpgrade upgrade;
  upgrade.take({reinterpret_cast<const std::uint8_t*>(request.data()), request.size()}, listener);
  return upgrade.answer().substr(0, 12);
}

constexpr const char* accepted = "HTTP/1.1 101";

TEST(WebSocketUpgrade, TakesSubprotocolsHoweverTheyAreListed) {
  for (const char* fields :
       {"Sec-WebSocket-Protocol: mqtt\r\n", "Sec-WebSocket-Protocol: other,\tmqtt\r\n",
        "Sec-WebSocket-Protocol: \t mqtt \t,x\r\n", "Sec-WebSocket-Protocol: x,,mqtt,\r\n",
        "Sec-WebSocket-Protocol: other\r\nSec-WebSocket-Protocol: mqtt\r\n",
        "Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Protocol: other\r\n",
        "Sec-WebSocket-Protocol: mqttv3.1\r\n"}) {
    EXPECT_EQ(answer({.protocol = fields}), accepted) << fields;
  }
  for (const char* fields :
       {"", "Sec-WebSocket-Protocol: other\r\n", "Sec-WebSocket-Protocol: ,\r\n",
        "Sec-WebSocket-Protocol: m,qtt\r\n"}) {
    EXPECT_EQ(answer({.protocol = fields}), "HTTP/1.1 400") << fields;
  }
}

TEST(WebSocketUpgrade, TakesItsPathsHoweverTheyAreWritten) {
  for (const char* target : {"/mqtt", "/mqtt/", "/mqtt?token=1", "http://localhost:8083/mqtt",
                             "ws://localhost/mqtt/?x"}) {
    EXPECT_EQ(answer({.target = target}), accepted) << target;
  }
  EXPECT_EQ(answer({.target = "/mqttx"}), "HTTP/1.1 404");
  EXPECT_EQ(answer({.target = "/mqtt/x"}), "HTTP/1.1 404");
  ListenerConfig listener = on("127.0.0.1");
  listener.path = {"/", "/ws/"};
  EXPECT_EQ(answer({.target = "/"}, listener), accepted);
  EXPECT_EQ(answer({.target = "/ws"}, listener), accepted);
  EXPECT_EQ(answer({.target = "/mqtt"}, listener), "HTTP/1.1 404");
}

TEST(WebSocketUpgrade, NeedsOneHostThatCanBeRead) {
  for (const char* host : {"", "Host: a\r\nHost: b\r\n", "Host: a b\r\n", "Host: a:b\r\n"}) {
    EXPECT_EQ(answer({.host = host}), "HTTP/1.1 400") << host;
  }
}

std::string from(const std::string& origin, const std::string& host,
                 const ListenerConfig& listener) {
  return answer({.host = "Host: " + host + "\r\n", .more = "Origin: " + origin + "\r\n"}, listener);
}

TEST(WebSocketUpgrade, RefusesPagesOfStrangers) {
  EXPECT_EQ(from("https://evil.example", "localhost:8083", on("127.0.0.1")), "HTTP/1.1 403");
  EXPECT_EQ(from("null", "localhost:8083", on("127.0.0.1")), "HTTP/1.1 403");
  EXPECT_EQ(from("https://evil.example", "10.0.0.1:8083", on("10.0.0.1")), "HTTP/1.1 403");
  EXPECT_EQ(from("http://localhost:3000", "localhost:8083", on("127.0.0.1")), accepted);
  EXPECT_EQ(from("http://127.0.0.1", "127.0.0.1:8083", on("127.0.0.1")), accepted);
  EXPECT_EQ(from("https://mqtt.example", "mqtt.example", on("0.0.0.0")), accepted);
}

TEST(WebSocketUpgrade, IsNotFooledByANameThatWasMadeToStandForThisMachine) {
  EXPECT_EQ(from("http://evil.example:8083", "evil.example:8083", on("127.0.0.1")), "HTTP/1.1 403");
  EXPECT_EQ(from("http://evil.example:8083", "evil.example:8083", on("::1")), "HTTP/1.1 403");
}

TEST(WebSocketUpgrade, LetsTheListedPagesIn) {
  const ListenerConfig listener = on("127.0.0.1", {"https://app.example", "http://b.example:81"});
  EXPECT_EQ(from("https://APP.example", "localhost", listener), accepted);
  EXPECT_EQ(from("http://b.example:81", "localhost", listener), accepted);
  EXPECT_EQ(from("http://app.example", "localhost", listener), "HTTP/1.1 403");
  EXPECT_EQ(from("http://b.example", "localhost", listener), "HTTP/1.1 403");
  EXPECT_EQ(from("https://anybody.example", "x", on("127.0.0.1", {"*"})), accepted);
  EXPECT_EQ(answer({.more = "Origin: http://localhost\r\nOrigin: http://evil.example\r\n"}),
            "HTTP/1.1 403");
}

TEST(WebSocketUpgrade, AnswersWhatItCannotTake) {
  const auto answer_to = [](const std::string& request) {
    WebSocketUpgrade upgrade;
    upgrade.take({reinterpret_cast<const std::uint8_t*>(request.data()), request.size()},
                 on("127.0.0.1"));
    return upgrade.answer();
  };
  EXPECT_THAT(answer_to("GET /mqtt HTTP/1.1\r\nX: " + std::string(20'000, 'x')),
              StartsWith("HTTP/1.1 431"));
  EXPECT_EQ(answer({.more = "X: " + std::string(12'000, 'x') + "\r\n"}), accepted);
  EXPECT_THAT(answer_to(std::string("\x10\x0c\0\4MQTT\4\2\0\0\0\0", 14)),
              StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(answer_to("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), StartsWith("HTTP/1.1 426"));
}

}  // namespace
}  // namespace millrace::server
