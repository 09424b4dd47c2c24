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

TEST_F(Loop, OfThePublishersNoneTakesAllTheRoom) {
  constexpr std::size_t frame_bytes = 32, enough = 20'000;
  std::atomic<shm::PublisherRingHeader*> header{nullptr};
  std::map<shm::ClientId, std::size_t> of;
  std::atomic<std::size_t> before_the_other{0};
  std::optional<shm::ClientId> first;
  // The first one's ring is never empty: a frame comes for each one that was taken. Each turn of it is
  // more than the host takes at two looks.
  host.takes_per_look = 100;
  host.on_publish = [&](shm::ClientId client, const shm::PublisherRingMessage&) {
    if (!first) first = client;
    ++of[client];
    if (client != *first && before_the_other == 0) before_the_other = of[*first];
    if (client == *first && of[client] < enough) header.load()->tail.fetch_add(frame_bytes);
  };
  start();
  const UniqueFd socket = shm::connect_to(directory.socket());
  const std::string request = shm::encode(shm::Request(shm::PublisherRingRequest{"p"}));
  ASSERT_EQ(::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(request.size()));
  std::byte buffer[4096];
  std::vector<UniqueFd> descriptors;
  ASSERT_GT(shm::receive_with_descriptors(socket.get(), buffer, descriptors, 0), 0);
  const std::size_t data_bytes = ControlLoopOptions().publisher_ring_bytes;
  const std::size_t header_bytes = shm::ring_header_bytes(shm::system_page_bytes());
  const shm::Mapping ring = shm::Mapping::map_ring(descriptors.at(0).get(), header_bytes,
                                                   data_bytes, shm::Access::read_write);
  for (std::size_t at = 0; at < data_bytes; at += frame_bytes) {
    std::byte* const frame = ring.data() + header_bytes + at;
    shm::store_header(frame, {8, 0, shm::FrameKind::message, 0, 0, 0});
  }
  Publisher other({directory.socket(), "other"});
  header = ring.as<shm::PublisherRingHeader>();
  header.load()->tail.store(512 * frame_bytes);
  ASSERT_EQ(::send(socket.get(), "\x01", 1, MSG_NOSIGNAL), 1);
  while (host.taken == 0) std::this_thread::yield();
  publish(other, 10);
  while (before_the_other == 0) std::this_thread::yield();
  loop->stop();
  EXPECT_LT(before_the_other.load(), enough);
}

TEST_F(Loop, TakesWhatAPublisherLeftOnceThereIsRoom) {
  start();
  {
    Publisher publisher({directory.socket(), "p"});
    host.takes_per_look = 0;
    publish(publisher, 10);
  }
  await_turn();
  host.takes_per_look = 1'000;
  await_clients(0);
  loop->stop();
  EXPECT_EQ(host.taken, 10u);
  EXPECT_EQ(loop->figures().published, 10u);
}

// The room comes only after the connections have ended.
TEST_F(Loop, PassesOnWhatWaitsWhenItIsStopped) {
  start();
  const UniqueFd reader = shm::connect_to(directory.socket());
  const std::string request = shm::encode(shm::Request(shm::TableRequest{"#"}));
  ASSERT_EQ(::send(reader.get(), request.data(), request.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(request.size()));
  while (!host.asked) std::this_thread::yield();
  Publisher publisher({directory.socket(), "p"});
  host.takes_per_look = 0;
  publish(publisher, 10);
  loop->stop();
  EXPECT_EQ(host.taken, 10u);
}

TEST_F(Loop, StopsThoughItsHostTakesNothing) {
  ControlLoopOptions options;
  options.stop_timeout = std::chrono::milliseconds(1);
  start(options);
  Publisher publisher({directory.socket(), "p"});
  host.takes_per_look = 0;
  publish(publisher, 10);
  loop->stop();
  EXPECT_EQ(host.taken, 0u);
  EXPECT_EQ(loop->figures().clients, 0u);
}

}  // namespace
}  // namespace millrace::server
