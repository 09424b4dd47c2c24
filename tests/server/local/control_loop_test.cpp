// The loop of the control socket with a host that takes what is published when the test says.
#include "server/local/control_loop.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <chrono>
#include <cstring>

#include "control_fixture.hpp"
#include "tests/shm/no_more_descriptors.hpp"

namespace millrace::server {
namespace {

using local::Publisher;
using local::send_bytes;
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
  // The time is longer than a busy machine may hold anything up.
  void start(std::chrono::milliseconds stop_timeout = std::chrono::minutes(1)) {
    ControlLoopOptions options;
    options.path = directory.socket();
    options.stop_timeout = stop_timeout;
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
    send_bytes(socket, "\x77 nonsense");
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

TEST_F(Loop, AcceptsAgainOnceThereAreDescriptorsThoughNoClientLeaves) {
  start();
  const UniqueFd stays = shm::connect_to(directory.socket());
  await_clients(1);
  const UniqueFd waits(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, directory.socket().c_str());
  {
    const test::NoMoreDescriptors limit;
    ASSERT_EQ(::connect(waits.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ask(stays);  // so the loop has seen the other one before
    ASSERT_EQ(loop->figures().clients, 1u);
  }
  ask(waits);
}

TEST_F(Loop, OfThePublishersNoneTakesAllTheRoom) {
  constexpr std::size_t frame_bytes = local::RawPublisherRing::frame_bytes, enough = 20'000;
  std::atomic<shm::PublisherRingHeader*> header{nullptr};
  std::atomic<bool> other_waits{false}, other_came{false};
  std::atomic<std::size_t> meanwhile{0};  // taken of the first one while the other waits
  std::optional<shm::ClientId> first;
  // The first one's ring is never empty: a frame comes for each one that was taken. Each turn of it is
  // more than the host takes at two looks.
  host.takes_per_look = 100;
  host.on_publish = [&](shm::ClientId client, const shm::PublisherRingMessage&) {
    if (!first) first = client;
    if (client != *first) {
      other_came = true;
      return;
    }
    if (other_waits && !other_came) ++meanwhile;
    if (!other_came && meanwhile < enough) header.load()->tail.fetch_add(frame_bytes);
  };
  start();
  const local::RawPublisherRing raw = local::open_raw_publisher_ring(directory.socket());
  ASSERT_TRUE(raw.ring);
  Publisher other({directory.socket(), "other"});
  header = raw.ring.as<shm::PublisherRingHeader>();
  header.load()->tail.store(512 * frame_bytes);
  send_bytes(raw.socket, "\x01");
  while (host.taken == 0) std::this_thread::yield();
  publish(other, 10);
  other_waits = true;
  while (!other_came && meanwhile < enough) std::this_thread::yield();
  loop->stop();
  EXPECT_LT(meanwhile.load(), enough);
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
  send_bytes(reader, shm::encode(shm::Request(shm::TableRequest{"#"})));
  while (!host.asked) std::this_thread::yield();
  Publisher publisher({directory.socket(), "p"});
  host.takes_per_look = 0;
  publish(publisher, 10);
  loop->stop();
  EXPECT_EQ(host.taken, 10u);
}

TEST_F(Loop, StopsThoughItsHostTakesNothing) {
  start(std::chrono::milliseconds(1));
  Publisher publisher({directory.socket(), "p"});
  host.takes_per_look = 0;
  publish(publisher, 10);
  loop->stop();
  EXPECT_EQ(host.taken, 0u);
  EXPECT_EQ(loop->figures().clients, 0u);
}

}  // namespace
}  // namespace millrace::server
