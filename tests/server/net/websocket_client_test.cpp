// What the client's side of WebSocket makes of a server's answer to its request.
#include "server/net/websocket_client.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <boost/intrusive_ptr.hpp>
#include <string>

#include "server/auth/crypto.hpp"

namespace millrace::server {
namespace {

class User final : public StreamUser {
 public:
  void on_open() override { opened = true; }
  void on_open_failed() override { failed = true; }
  void on_readable() override {}
  void on_writable() override {}

  bool opened = false, failed = false;
};

std::string key_in(const std::string& request) {
  const std::string name = "Sec-WebSocket-Key: ";
  const auto begin = request.find(name) + name.size();
  return request.substr(begin, request.find("\r\n", begin) - begin);
}

// Why the link is not opened by an answer with these fields; empty: it is.
std::string refusal_of(const std::string& fields) {
  std::array<int, 2> ends{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()), 0);
  Poller poller;
  const boost::intrusive_ptr<User> user(new User);
  const auto stream = make_websocket_client(poller, ends[0], {"broker.example", "/mqtt"});
  stream->open(*user);
  std::string request(4096, '\0');
  const ssize_t got = ::recv(ends[1], request.data(), request.size(), 0);
  EXPECT_GT(got, 0);
  request.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  const std::string accept =
      to_base64(digest(Digest::sha1, key_in(request) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
  const std::string answer = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: " + accept +
                             "\r\nSec-WebSocket-Protocol: mqtt\r\n" + fields + "\r\n";
  EXPECT_EQ(::send(ends[1], answer.data(), answer.size(), 0), static_cast<ssize_t>(answer.size()));
  while (!user->opened && !user->failed) {
    poller.poll(-1);
    while (poller.serve_one()) {
    }
  }
  std::string failure = stream->failure();
  EXPECT_EQ(failure.empty(), user->opened);
  stream->close();
  ::close(ends[1]);
  return failure;
}

const std::string upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n";

TEST(WebSocketClient, TakesAnUpgrade) {
  EXPECT_EQ(refusal_of(upgrade), "");
  EXPECT_EQ(refusal_of("upgrade: WebSocket\r\nconnection: keep-alive, upgrade\r\n"), "");
}

// RFC 6455, section 4.1.
TEST(WebSocketClient, RefusesAnAnswerThatIsNoUpgrade) {
  const std::string why = "WebSocket: the answer is no upgrade to WebSocket";
  EXPECT_EQ(refusal_of(""), why);
  EXPECT_EQ(refusal_of("Upgrade: websocket\r\n"), why);
  EXPECT_EQ(refusal_of("Upgrade: h2c\r\nConnection: Upgrade\r\n"), why);
}

TEST(WebSocketClient, RefusesAnExtensionThatItDidNotOffer) {
  EXPECT_EQ(refusal_of(upgrade + "Sec-WebSocket-Extensions: permessage-deflate\r\n"),
            "WebSocket: the server wants an extension that was not offered");
}

}  // namespace
}  // namespace millrace::server
