// A socket that was to reach a server and reached itself.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/upstream/dial.hpp"

namespace millrace::server {
namespace {

struct Socket {
  explicit Socket() : fd(::socket(AF_INET, SOCK_STREAM, 0)) {
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    socklen_t bytes = sizeof address;
    EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes), 0);
  }
  ~Socket() { ::close(fd); }
  void connect_to(const Socket& other) {
    const auto* there = reinterpret_cast<const sockaddr*>(&other.address);
    EXPECT_EQ(::connect(fd, there, sizeof other.address), 0);
  }

  sockaddr_in address{};
  const int fd;
};

TEST(Dial, KnowsASocketThatMetItself) {
  Socket alone;
  alone.connect_to(alone);
  EXPECT_TRUE(is_connected_to_itself(alone.fd));
}

TEST(Dial, KnowsASocketThatMetAnother) {
  Socket listener, client;
  ASSERT_EQ(::listen(listener.fd, 1), 0);
  client.connect_to(listener);
  EXPECT_FALSE(is_connected_to_itself(client.fd));
}

}  // namespace
}  // namespace millrace::server
