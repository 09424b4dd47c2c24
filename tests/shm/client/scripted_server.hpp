// A control socket that answers by a script: the test decides what is handed over, and when. The
// rings, pages and tables are the test's own, so it can bring them into any state.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/shm/wire/descriptors.hpp"
#include "core/shm/wire/wire.hpp"

namespace millrace::test {

// Serves one client at a time; a new connection ends the one before.
class ScriptedServer {
 public:
  struct Answer {
    shm::Reply reply;
    std::vector<int> descriptors;
  };
  // Called on the server's thread for each request; nothing: it is not answered.
  using Script = std::function<std::optional<Answer>(const shm::Request&)>;

  explicit ScriptedServer(Script script) : script_(std::move(script)) {
    folder_ = (std::filesystem::temp_directory_path() / "millrace-XXXXXX").string();
    EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
    listener_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, socket().c_str());
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listener_.get(), 8), 0);
    stop_ = shm::make_pipe();
    thread_ = std::thread([this] { run(); });
  }
  ~ScriptedServer() {
    stop_.write_end.reset();
    thread_.join();
    std::filesystem::remove_all(folder_);
  }
  ScriptedServer(const ScriptedServer&) = delete;

  std::string socket() const { return folder_ + "/local.sock"; }

  void send(const Answer& answer) {
    const std::lock_guard lock(mutex_);
    const std::string bytes = shm::encode(answer.reply, answer.descriptors.size());
    EXPECT_EQ(shm::send_with_descriptors(client_.get(), bytes, answer.descriptors, 0),
              static_cast<ssize_t>(bytes.size()));
  }

 private:
  void run() {
    for (;;) {
      pollfd waits[] = {{stop_.read_end.get(), POLLIN, 0},
                        {listener_.get(), POLLIN, 0},
                        {client_.get(), POLLIN, 0}};  // a negative descriptor is ignored
      if (::poll(waits, 3, -1) < 0) continue;
      if (waits[0].revents != 0) return;
      if (waits[1].revents != 0) {
        const std::lock_guard lock(mutex_);
        client_.reset(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        requests_ = {};
      } else if (waits[2].revents != 0) {
        receive();
      }
    }
  }
  void receive() {
    std::byte buffer[4096];
    const ssize_t count = ::recv(client_.get(), buffer, sizeof buffer, 0);
    if (count <= 0) {
      const std::lock_guard lock(mutex_);
      return client_.reset();
    }
    requests_.feed({buffer, static_cast<std::size_t>(count)});
    while (const auto request = requests_.next()) {
      if (const auto answer = script_(*request)) send(*answer);
    }
  }

  const Script script_;
  std::string folder_;
  shm::UniqueFd listener_;
  shm::Pipe stop_;
  std::mutex mutex_;  // held to send and to replace client_, which the thread alone does
  shm::UniqueFd client_;
  shm::RequestParser requests_;
  std::thread thread_;
};

}  // namespace millrace::test
