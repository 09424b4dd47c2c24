// A Unix socket at which several servers may start.
#include "server/net/unix_socket.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <barrier>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/files.hpp"

namespace millrace::server {
namespace {

TEST(UnixSocket, OfServersThatStartAtAStaleSocketAtTheSameTimeOneListens) {
  constexpr int servers = 4, rounds = 300;
  const test::Folder folder;
  const std::string path = folder.path("s");
  std::vector<shm::UniqueFd> sockets(servers);
  std::vector<std::string> errors(servers);
  int listen = 0, stale = 0;
  // Between two rounds, alone.
  const auto look = [&]() noexcept {
    listen = 0;
    for (const shm::UniqueFd& socket : sockets) listen += static_cast<bool>(socket);
  };
  const auto leave_stale = [&]() noexcept {
    for (shm::UniqueFd& socket : sockets) socket.reset();
    stale += ::access(path.c_str(), F_OK) == 0;
  };
  std::barrier begin(servers, leave_stale);
  std::barrier end(servers, look);
  std::vector<int> wrong(servers);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < servers; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < rounds; ++round) {
        begin.arrive_and_wait();
        errors[i].clear();
        sockets[i] = listen_at(path, 0600, 64, errors[i]);
        end.arrive_and_wait();
        wrong[i] += listen != 1 ||
                    (!sockets[i] && errors[i].find("another server listens") == std::string::npos);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(stale, rounds - 1) << "the first one finds none";
  for (const int count : wrong) EXPECT_EQ(count, 0) << "of " << rounds << " rounds";
}

TEST(UnixSocket, HasALockThatIsItsUsersAlone) {
  const test::Folder folder;
  std::string error;
  ASSERT_TRUE(listen_at(folder.path("s"), 0666, 1, error)) << error;
  struct stat status {};
  ASSERT_EQ(::stat(folder.path("s.lock").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST(UnixSocket, ListensThoughItCannotHaveTheLock) {
  const test::Folder folder;
  ASSERT_EQ(::symlink("elsewhere", folder.path("s.lock").c_str()), 0);
  std::string error;
  EXPECT_TRUE(listen_at(folder.path("s"), 0600, 1, error)) << error;
}

}  // namespace
}  // namespace millrace::server
