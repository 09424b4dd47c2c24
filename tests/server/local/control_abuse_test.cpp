// The control socket against clients that send valid messages with a harmful purpose.
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <optional>
#include <thread>
#include <tuple>

#include "control_fixture.hpp"

namespace millrace::local {
namespace {

using shm::descriptors_max;
using shm::UniqueFd;

TEST_F(ControlSocket, SurvivesAReaderThatNamesItsPredecessorTwice) {
  TestServer server(directory.socket());
  Reader witness("#", options());
  {
    auto first = std::make_unique<Reader>("#", lossless("a"));
    Reader second("#", lossless("b", {"a", "a"}));
    first.reset();
    server.await([](Registry& registry) { return registry.consumer_count() == 2; });
  }
  server.await([](Registry& registry) { return registry.consumer_count() == 1; });
  server.publish("t", "still here");
  EXPECT_EQ(next_payload(witness), "still here");
}

// Otherwise many requests of a few bytes would make the server hold many large replies.
TEST_F(ControlSocket, RefusesASecondRequestForAValueBeforeTheFirstIsAnswered) {
  TestServer server(directory.socket());
  server.publish("a", std::string(100'000, 'x'));
  UniqueFd socket = shm::connect_to(directory.socket());
  std::vector<UniqueFd> descriptors;
  send_bytes(socket, shm::encode(shm::Request(shm::TableRequest{"#"})));
  ASSERT_TRUE(std::holds_alternative<shm::TableOpened>(replies(socket, 1, descriptors).at(0)));
  const std::string request = shm::encode(shm::Request(shm::ValueRequest{"a"}));
  send_bytes(socket, request + request);
  const auto got = replies(socket, 2, descriptors);
  ASSERT_FALSE(got.empty());
  EXPECT_TRUE(std::holds_alternative<shm::Refused>(got.back()));
}

TEST_F(ControlSocket, TakesNoMoreOfAClosedPublisherRingThanItHolds) {
  constexpr std::size_t enough = 100'000, frame_bytes = RawPublisherRing::frame_bytes;
  std::atomic<shm::PublisherRingHeader*> header{nullptr};
  std::atomic<std::size_t> taken{0};
  ServerOptions options;
  // In place of the client's process: it adds a frame each time that one was taken.
  options.publish = [&](const shm::PublisherRingMessage&) {
    if (++taken < enough) header.load()->tail.fetch_add(frame_bytes);
    return false;
  };
  TestServer server(directory.socket(), options);
  RawPublisherRing raw = open_raw_publisher_ring(directory.socket());
  ASSERT_TRUE(raw.ring);
  header = raw.ring.as<shm::PublisherRingHeader>();
  header.load()->tail.store(frame_bytes);
  raw.socket.reset();
  while (server.loop().figures().clients != 0) std::this_thread::yield();
  EXPECT_GT(taken.load(), 0u);
  EXPECT_LT(taken.load(), 2 * RawPublisherRing::data_bytes / frame_bytes);
}

TEST_F(ControlSocket, EndsAConnectionThatSendsNoWholeRequest) {
  ServerOptions options;
  options.loop.request_timeout = std::chrono::milliseconds(20);
  TestServer server(directory.socket(), options);
  std::optional<Reader> reader;  // one with a request stays
  while (!reader) {
    try {
      reader.emplace("#", this->options());
    } catch (const Error&) {
      std::this_thread::yield();  // its time had passed before its request came
    }
  }
  UniqueFd silent = shm::connect_to(directory.socket());
  UniqueFd half = shm::connect_to(directory.socket());
  std::string request = shm::encode(shm::Request(shm::TableRequest{"#"}));
  request.pop_back();
  // Its time, too, may have passed already.
  std::ignore = ::send(half.get(), request.data(), request.size(), MSG_NOSIGNAL);
  std::vector<UniqueFd> descriptors;
  EXPECT_TRUE(replies(silent, 1, descriptors).empty());
  EXPECT_TRUE(replies(half, 1, descriptors).empty());
  while (server.loop().figures().clients != 1) std::this_thread::yield();
  server.publish("a", "1");
  EXPECT_EQ(next_payload(*reader), "1");
}

// Each notice of a neighbour carries a descriptor: they must not pile up in the server.
TEST_F(ControlSocket, DisconnectsAReaderThatDoesNotReadItsNotices) {
  TestServer server(directory.socket());
  UniqueFd deaf = shm::connect_to(directory.socket());
  const auto say = [&](const shm::Request& request) { send_bytes(deaf, shm::encode(request)); };
  say(shm::AttachRequest{shm::Policy::lossless, shm::StartAt::now, false, {"#"}, "deaf", {}});
  std::vector<UniqueFd> descriptors;
  ASSERT_EQ(replies(deaf, 1, descriptors).size(), 1u);
  say(shm::MappedNotice{});
  const auto is_attached = [&] { return refusal("#", lossless("", {"deaf"})) == "attached"; };
  while (!is_attached()) std::this_thread::yield();
  int attached = 0;
  while (attached < 5'000 && is_attached()) ++attached;
  EXPECT_LT(attached, 5'000) << "its name is gone, as it is disconnected";
}

// Closing the last descriptor of such a socket waits until its data are sent.
TEST_F(ControlSocket, IsNotBlockedByASocketThatLingers) {
  TestServer server(directory.socket());
  const UniqueFd listener(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* any = reinterpret_cast<sockaddr*>(&address);
  ASSERT_EQ(::bind(listener.get(), any, length), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  ASSERT_EQ(::getsockname(listener.get(), any, &length), 0);
  UniqueFd lingers(::socket(AF_INET, SOCK_STREAM, 0));
  ASSERT_EQ(::connect(lingers.get(), any, length), 0);
  const std::string data(65'536, 'x');
  while (::send(lingers.get(), data.data(), data.size(), MSG_DONTWAIT) > 0) {
  }
  linger option{1, 100'000};
  ::setsockopt(lingers.get(), SOL_SOCKET, SO_LINGER, &option, sizeof option);
  const UniqueFd socket = shm::connect_to(directory.socket());
  const int fd = lingers.get();
  if (shm::send_with_descriptors(socket.get(), "\x01", std::span(&fd, 1), 0) < 0) {
    option.l_onoff = 0;  // the kernel does not let us send it
    ::setsockopt(lingers.get(), SOL_SOCKET, SO_LINGER, &option, sizeof option);
  }
  lingers.reset();
  Reader reader("#", options());
  server.publish("a", "still here");
  EXPECT_EQ(next_payload(reader), "still here");
}

// --- without a socket ----------------------------------------------------------------------------

struct TwoTopics : Registry::Watcher {
  struct Walk : shm::NewestWalk {
    int left = 2;
    Step step(shm::NewestValue&) override { return left-- > 0 ? Step::other : Step::end; }
  };
  void feed_made(shm::Feed&) override {}
  void feed_ends(shm::Feed&) override {}
  std::unique_ptr<shm::NewestWalk> walk_newest(const std::vector<std::string>&) override {
    return std::make_unique<Walk>();
  }
  bool newest(std::string_view, std::string_view, std::string&, std::uint8_t&) override {
    return false;
  }
};

// When a predecessor leaves, its own predecessors take its place: more pages than fit in one reply.
TEST(Registry, RefusesAReaderThatHasTooManyPredecessorsWhenItIsAnswered) {
  TwoTopics topics;
  shm::RegistryOptions options;
  options.topics_per_batch = 1;
  Registry registry(options, topics);
  shm::ClientId client = 0;
  const auto attach = [&](std::string name, std::vector<std::string> after, shm::StartAt start) {
    ++client;
    registry.handle(client,
                    shm::AttachRequest{shm::Policy::lossless, start, false, {"#"}, name, after}, 1);
    registry.handle(client, shm::MappedNotice{}, 1);
    return client;
  };
  std::vector<std::string> first, second;
  for (std::size_t i = 0; i < shm::neighbours_max; ++i) {
    attach(first.emplace_back("first" + std::to_string(i)), {}, shm::StartAt::now);
  }
  const shm::ClientId leaves = attach("second0", first, shm::StartAt::now);
  second.emplace_back("second0");
  while (second.size() < shm::neighbours_max) {
    attach(second.emplace_back("second" + std::to_string(second.size())), {}, shm::StartAt::now);
  }
  const shm::ClientId last = attach("last", second, shm::StartAt::latest);
  ASSERT_TRUE(registry.work(1)) << "its snapshot is being made";
  registry.gone(leaves, 2);
  registry.take_outgoing();
  while (registry.work(2)) {
  }
  const auto outgoing = registry.take_outgoing();
  ASSERT_FALSE(outgoing.empty());
  for (const shm::Outgoing& one : outgoing) EXPECT_LE(one.descriptors.size(), descriptors_max);
  EXPECT_EQ(outgoing.back().to, last);
  EXPECT_TRUE(outgoing.back().closes);
}

}  // namespace
}  // namespace millrace::local
