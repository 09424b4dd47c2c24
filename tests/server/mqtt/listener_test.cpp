// What a listener gives to the connections that it accepts.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "tests/server/running_server.hpp"

namespace millrace::server {
namespace {

// The server's end of a client's connection: both live in this process.
int other_end_of(int socket) {
  sockaddr_in ours{};
  socklen_t bytes = sizeof ours;
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&ours), &bytes);
  for (int fd = 0; fd < 4096; ++fd) {
    sockaddr_in theirs{};
    bytes = sizeof theirs;
    if (fd != socket && ::getpeername(fd, reinterpret_cast<sockaddr*>(&theirs), &bytes) == 0 &&
        theirs.sin_family == AF_INET && theirs.sin_port == ours.sin_port) {
      return fd;
    }
  }
  return -1;
}

int option(int fd, int level, int name) {
  int value = -1;
  socklen_t bytes = sizeof value;
  EXPECT_EQ(::getsockopt(fd, level, name, &value, &bytes), 0);
  return value;
}

// A client's connection, seen from the server's end.
struct Accepted {
  explicit Accepted(const Config& config)
      : server(start_server(config)), peer(server->port("tcp")) {
    peer.connect("c");
    fd = other_end_of(peer.socket());
  }

  std::unique_ptr<Server> server;
  Peer peer;
  int fd = -1;
};

TEST(Listener, AsksWhetherAClientsMachineIsStillThere) {
  const Accepted accepted(test_config());
  const int fd = accepted.fd;
  ASSERT_GE(fd, 0);
  EXPECT_EQ(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 60);
  EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 15);
  EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 300'000);
  EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
}

TEST(Listener, LeavesThatToTheSystemWhereItIsToldTo) {
  Config config = test_config();
  config.connection.tcp_keep_alive_seconds = 0;
  config.connection.tcp_user_timeout_seconds = 0;
  const Accepted accepted(config);
  const int fd = accepted.fd;
  ASSERT_GE(fd, 0);
  EXPECT_EQ(option(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
  EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
}

}  // namespace
}  // namespace millrace::server
