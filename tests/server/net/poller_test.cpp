#include "server/net/poller.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>
#include <vector>

namespace millrace::server {
namespace {

// One end of a pair of connected sockets, watched; the test holds the other.
class Watched final : public Watch {
 public:
  explicit Watched(Poller& poller) : Watched(poller, make_pair()) {}
  ~Watched() { close(); }

  int peer() const { return peer_; }
  void send(const std::string& bytes) {
    ASSERT_EQ(::send(peer_, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  }
  // What the socket gives for a read of that size.
  std::string read(std::size_t bytes_max) {
    std::string bytes(bytes_max, '\0');
    const ssize_t got = ::recv(fd(), bytes.data(), bytes.size(), 0);
    if (got < 0) found_nothing();
    if (got > 0 && got < static_cast<ssize_t>(bytes_max)) found_less();
    bytes.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return bytes;
  }
  // Until the kernel takes no more.
  void fill() {
    const std::array<char, 4096> bytes{};
    while (::send(fd(), bytes.data(), bytes.size(), 0) > 0) {
    }
  }
  void close() {
    if (!watched()) return;
    const int socket = fd();
    unwatch();
    ::close(socket);
    ::close(peer_);
  }

  using Watch::wait_to_read;
  using Watch::wait_to_write;

  int reads = 0;
  int writes = 0;
  Watched* closes = nullptr;  // when it is called

 private:
  using Pair = std::array<int, 2>;
  static Pair make_pair() {
    Pair pair;
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair.data()), 0);
    return pair;
  }
  Watched(Poller& poller, Pair pair) : Watch(poller, pair[0]), peer_(pair[1]) {}

  void on_ready(bool readable, bool writable) override {
    reads += readable ? 1 : 0;
    writes += writable ? 1 : 0;
    if (closes != nullptr) closes->close();
  }

  int peer_;
};

int serve_all(Poller& poller) {
  poller.poll(0);
  int served = 0;
  while (poller.serve_one()) ++served;
  return served;
}

TEST(Poller, CallsOncePerWait) {
  Poller poller;
  Watched socket(poller);
  socket.wait_to_read();
  EXPECT_EQ(serve_all(poller), 0);
  socket.send("ab");
  EXPECT_EQ(serve_all(poller), 1);
  socket.send("c");
  EXPECT_EQ(serve_all(poller), 0) << "it was not asked for";
  EXPECT_EQ(socket.reads, 1);
}

TEST(Poller, RemembersWhatWasNotRead) {
  Poller poller;
  Watched socket(poller);
  socket.wait_to_read();
  socket.send("abcd");
  serve_all(poller);
  EXPECT_EQ(socket.read(2), "ab");
  socket.wait_to_read();
  EXPECT_EQ(serve_all(poller), 1) << "no new edge tells of the rest";
  EXPECT_EQ(socket.read(3), "cd");
  socket.wait_to_read();
  EXPECT_EQ(serve_all(poller), 0) << "a short read has read all";
  socket.send("e");
  EXPECT_EQ(serve_all(poller), 1);
}

TEST(Poller, TellsOfTheEndThatCameWithTheLastBytes) {
  Poller poller;
  Watched socket(poller);
  socket.wait_to_read();
  socket.send("a");
  ::shutdown(socket.peer(), SHUT_WR);
  serve_all(poller);
  EXPECT_EQ(socket.read(100), "a");
  socket.wait_to_read();
  EXPECT_EQ(serve_all(poller), 1);
  EXPECT_EQ(socket.reads, 2);
}

TEST(Poller, TellsOfRoomToWrite) {
  Poller poller;
  Watched socket(poller);
  socket.fill();
  socket.wait_to_write();
  EXPECT_EQ(serve_all(poller), 0);
  std::array<char, 65536> bytes;
  while (::recv(socket.peer(), bytes.data(), bytes.size(), MSG_DONTWAIT) > 0) {
  }
  EXPECT_EQ(serve_all(poller), 1);
  EXPECT_EQ(socket.writes, 1);
  EXPECT_EQ(socket.reads, 0) << "nobody waits for that";
  socket.wait_to_write();
  EXPECT_EQ(serve_all(poller), 1) << "there is room already";
}

TEST(Poller, DoesNotCallWhoWasClosedWhileInLine) {
  Poller poller;
  std::array<Watched, 2> sockets{Watched(poller), Watched(poller)};
  for (std::size_t i = 0; i < sockets.size(); ++i) {
    sockets[i].closes = &sockets[1 - i];
    sockets[i].wait_to_read();
    sockets[i].send("a");
  }
  EXPECT_EQ(serve_all(poller), 1);
  EXPECT_EQ(sockets[0].reads + sockets[1].reads, 1);
}

TEST(Poller, ServesWhoIsReadyAgainAfterTheOthers) {
  Poller poller;
  std::array<Watched, 3> sockets{Watched(poller), Watched(poller), Watched(poller)};
  for (Watched& socket : sockets) {
    socket.wait_to_read();
    socket.send("abcd");
  }
  poller.poll(0);
  for (int i = 0; i < 6; ++i) {
    ASSERT_TRUE(poller.serve_one());
    for (Watched& socket : sockets) {
      if (socket.reads == i / 3 + 1) socket.wait_to_read();  // all of it is unread
    }
  }
  for (const Watched& socket : sockets) EXPECT_EQ(socket.reads, 2);
}

}  // namespace
}  // namespace millrace::server
