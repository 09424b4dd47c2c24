// What a service manager is told, by a datagram socket that stands for it.
#include "server/app/service_manager.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <string>

namespace millrace::server {
namespace {

// Listens at an abstract name that the kernel chose, or at a path.
class Manager {
 public:
  explicit Manager(const std::string& path = "") {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    const auto head = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path));
    const socklen_t given = path.empty() ? head : head + static_cast<socklen_t>(path.size());
    EXPECT_EQ(::bind(socket_, reinterpret_cast<sockaddr*>(&address), given), 0);
    socklen_t size = sizeof address;
    EXPECT_EQ(::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    name_ = path.empty() ? "@" + std::string(address.sun_path + 1, size - head - 1) : path;
    const timeval patience{60, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  ~Manager() { ::close(socket_); }
  Manager(const Manager&) = delete;
  Manager& operator=(const Manager&) = delete;

  const char* name() const { return name_.c_str(); }
  std::string next() {
    char buffer[4096];
    const ssize_t size = ::recv(socket_, buffer, sizeof buffer, 0);
    return size < 0 ? std::strerror(errno) : std::string(buffer, static_cast<std::size_t>(size));
  }

 private:
  const int socket_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  std::string name_;
};

TEST(ServiceManager, HearsThatTheServerServesReloadsAndStops) {
  Manager manager;
  ServiceManager told({.notify_socket = manager.name()});
  EXPECT_TRUE(told.is_there());
  told.ready("serves 3 connections");
  EXPECT_EQ(manager.next(), "READY=1\nSTATUS=serves 3 connections");
  told.reloading();
  const std::string reloading = manager.next();
  EXPECT_TRUE(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC=")) << reloading;
  told.status("serves 4 connections");
  EXPECT_EQ(manager.next(), "STATUS=serves 4 connections");
  told.alive();
  EXPECT_EQ(manager.next(), "WATCHDOG=1");
  told.stopping("ends");
  EXPECT_EQ(manager.next(), "STOPPING=1\nSTATUS=ends");
}

TEST(ServiceManager, IsFoundByItsPathToo) {
  char folder[] = "/tmp/millrace-notify-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string path = std::string(folder) + "/socket";
  {
    Manager manager(path);
    ServiceManager(ServiceManager::Variables{.notify_socket = manager.name()}).alive();
    EXPECT_EQ(manager.next(), "WATCHDOG=1");
  }
  ::unlink(path.c_str());
  ::rmdir(folder);
}

TEST(ServiceManager, CannotBeSentALineByAStatus) {
  Manager manager;
  ServiceManager told({.notify_socket = manager.name()});
  told.status("a\nMAINPID=1");
  EXPECT_EQ(manager.next(), "STATUS=a MAINPID=1");
}

TEST(ServiceManager, IsOptional) {
  for (const char* socket :
       {static_cast<const char*>(nullptr), "", "relative", "/nobody/is/here"}) {
    ServiceManager nobody({.notify_socket = socket, .watchdog_usec = "1000000"});
    EXPECT_FALSE(nobody.is_there());
    EXPECT_FALSE(nobody.wants_heartbeat());
    nobody.ready("x");
    nobody.alive();
  }
  const std::string endless = "/" + std::string(200, 'x');
  EXPECT_FALSE(
      ServiceManager(ServiceManager::Variables{.notify_socket = endless.c_str()}).is_there());
}

TEST(ServiceManager, WantsAHeartbeatTwiceInItsTime) {
  using std::chrono::seconds;
  Manager manager;
  const std::string own = std::to_string(::getpid());
  const auto interval = [&](const char* usec, const char* pid) {
    ServiceManager told({manager.name(), usec, pid});
    return std::pair(told.wants_heartbeat(), told.interval());
  };
  EXPECT_EQ(interval("4000000", own.c_str()),
            std::pair(true, std::chrono::microseconds(seconds(2))));
  EXPECT_EQ(interval("4000000", nullptr), std::pair(true, std::chrono::microseconds(seconds(2))));
  EXPECT_EQ(interval("90000000", nullptr), std::pair(true, std::chrono::microseconds(seconds(10))));
  // The time is another process's, or no time.
  EXPECT_FALSE(interval("4000000", "1").first);
  EXPECT_FALSE(interval("soon", nullptr).first);
  EXPECT_FALSE(interval(nullptr, nullptr).first);
  EXPECT_EQ(interval(nullptr, nullptr).second, seconds(10));
}

}  // namespace
}  // namespace millrace::server
