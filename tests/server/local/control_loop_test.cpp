// The loop of the control socket with a host that takes what is published when the test says.
#include "server/local/control_loop.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <map>

#include "control_fixture.hpp"

namespace millrace::server {
namespace {

using local::Publisher;
using shm::UniqueFd;

// What was published waits, as for a processor whose queue is full. But for what the test sets, it is
// called by the loop alone.
struct Host : ControlHost {
  std::optional<std::string> admit(const shm::Credentials&) override { return ""; }
  std::optional<shm::Refusal> check_filter(const std::string&, const std::string&) override {
    return std::nullopt;
  }
  void ask(shm::ClientId, shm::Request) override { asked = true; }
  void gone(shm::ClientId) override { looks_after_gone = 0; }
  bool has_room_for_publishes() override {
    if (looks_after_gone && ++*looks_after_gone > 3) takes_per_look = 1'000;
    const std::size_t now = std::min<std::size_t>(waiting, takes_per_look);
    waiting -= now;
    taken += now;
    return waiting == 0 && takes_per_look > 0;
  }
  bool publish(shm::ClientId client, const std::string&,
               const shm::PublisherRingMessage& message) override {
    ++waiting;
    if (on_publish) on_publish(client, message);
    return true;
  }
  void flush_publishes() override {}

  std::atomic<std::size_t> takes_per_look = 1'000;
  std::atomic<std::size_t> taken = 0;
  std::atomic<bool> asked = false;
  std::size_t waiting = 0;
  std::optional<int> looks_after_gone;  // of a client that has asked
  std::function<void(shm::ClientId, const shm::PublisherRingMessage&)> on_publish;
};

class Loop : public local::ControlSocket {
 protected:
  void start(ControlLoopOptions options = {}) {
    options.path = directory.socket();
    std::string error;
    loop = ControlLoop::open(options, host, error);
    ASSERT_TRUE(loop) << error;
    loop->start();
  }
  void await_clients(std::uint64_t count) const {
    while (loop->figures().clients != count) std::this_thread::yield();
  }
  // Sends what is no request, and waits for the answer.
  static void ask(const UniqueFd& socket) {
    ASSERT_EQ(::send(socket.get(), "\x77 nonsense", 10, MSG_NOSIGNAL), 10);
    char byte;
    ASSERT_EQ(::recv(socket.get(), &byte, 1, 0), 1);
  }
  // The loop has seen what happened before, and done what follows from it: the second connection
  // is answered in a later turn than the first one.
  void await_turn() const {
    for (int i = 0; i < 2; ++i) ask(shm::connect_to(directory.socket()));
  }
  void publish(Publisher& publisher, int count) const {
    for (int i = 0; i < count; ++i) {
      ASSERT_EQ(publisher.publish("t", "x"), local::Published::taken);
    }
  }

  Host host;
  std::unique_ptr<ControlLoop> loop;
};

// No descriptor that is not open yet can be opened while this lives.
class NoMoreDescriptors {
 public:
  NoMoreDescriptors() {
    const UniqueFd lowest(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit none = before_;
    none.rlim_cur = static_cast<rlim_t>(lowest.get());
    ::setrlimit(RLIMIT_NOFILE, &none);
  }
  ~NoMoreDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

TEST_F(Loop, AcceptsAgainOnceThereAreDescriptorsThoughNoClientLeaves) {
  start();
  const UniqueFd stays = shm::connect_to(directory.socket());
  await_clients(1);
  const UniqueFd waits(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, directory.socket().c_str());
  {
    const NoMoreDescriptors limit;
    ASSERT_EQ(::connect(waits.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ask(stays);  // so the loop has seen the other one before
    ASSERT_EQ(loop->figures().clients, 1u);
  }
  ask(waits);
}

}  // namespace
}  // namespace millrace::server
