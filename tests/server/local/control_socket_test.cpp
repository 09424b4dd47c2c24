// The control socket with real sockets and the client library: attaching, reading, leaving.
#include <dirent.h>
#include <sched.h>
#include <sys/socket.h>

#include <fstream>
#include <thread>

#include "control_fixture.hpp"

namespace millrace::local {
namespace {

std::size_t open_descriptors() {
  std::size_t count = 0;
  DIR* directory = ::opendir("/proc/self/fd");
  while (::readdir(directory)) ++count;
  ::closedir(directory);
  return count;
}

TEST_F(ControlSocket, ReaderGetsWhatMatchesItsFilter) {
  TestServer server(directory.socket());
  Reader reader("md/+", options());
  server.publish("md/a", "1");
  server.publish("other", "2");
  server.publish("md/b", "3");
  Message message;
  ASSERT_EQ(reader.next(message), Status::message);
  EXPECT_EQ(message.topic, "md/a");
  EXPECT_EQ(message.payload, "1");
  EXPECT_TRUE(reader.is_valid());
  EXPECT_EQ(next_payload(reader), "3");
  EXPECT_EQ(reader.next(message, std::chrono::milliseconds(1)), Status::timeout);
  EXPECT_EQ(reader.missed(), 0u);
}

TEST_F(ControlSocket, ReadersOfOneFilterShareOneRing) {
  TestServer server(directory.socket());
  Reader first("#", options()), second("#", options()), third("#", lossless());
  server.call([] {});
  server.await([](Registry& registry) { return registry.feed_count() == 2; });
}

TEST_F(ControlSocket, LatestComesFirstThenWhatIsPublished) {
  TestServer server(directory.socket());
  server.publish("md/a", "old");
  server.publish("md/a", "newest a");
  server.publish("md/b", "newest b");
  ReaderOptions latest = options();
  latest.start = Start::latest;
  Reader reader("md/#", latest);
  server.publish("md/a", "live");
  EXPECT_EQ(next_payload(reader), "newest a");
  EXPECT_EQ(next_payload(reader), "newest b");
  EXPECT_EQ(next_payload(reader), "live");
}

TEST_F(ControlSocket, OldestReplaysWhatIsStillInTheRing) {
  TestServer server(directory.socket());
  Reader keeps_it("#", options());
  server.publish("a", "1");
  server.publish("a", "2");
  ReaderOptions oldest = options();
  oldest.start = Start::oldest;
  Reader reader("#", oldest);
  EXPECT_EQ(next_payload(reader), "1");
  EXPECT_EQ(next_payload(reader), "2");
}

TEST_F(ControlSocket, PublisherReachesReaders) {
  TestServer server(directory.socket());
  Reader reader("#", lossless());
  Publisher publisher({directory.socket(), "p"});
  for (int i = 0; i < 5'000; ++i) {
    while (publisher.put("t", std::to_string(i)) == Published::full) ::sched_yield();
    if (i % 16 == 0) publisher.flush();
  }
  EXPECT_TRUE(publisher.drain());
  for (int i = 0; i < 5'000; ++i) ASSERT_EQ(next_payload(reader), std::to_string(i));
  EXPECT_EQ(publisher.publish("secret", "x"), Published::taken);
  EXPECT_TRUE(publisher.drain());
  EXPECT_EQ(publisher.refused(), 1u);
}

TEST_F(ControlSocket, LatestReturnsTheNewestValueSmallOrLarge) {
  TestServer server(directory.socket());
  server.publish("a", "before");
  Latest latest("#", directory.socket());
  Value value;
  ASSERT_TRUE(latest.get("a", value));
  EXPECT_EQ(value.payload, "before");
  server.publish("a", "after");
  ASSERT_TRUE(latest.get("a", value));
  EXPECT_EQ(value.payload, "after");
  const std::string large(100'000, 'x');
  server.publish("b", large);
  ASSERT_TRUE(latest.get("b", value));
  EXPECT_EQ(value.payload, large);
  EXPECT_FALSE(latest.get("c", value));
}

TEST_F(ControlSocket, LatestOrdersAValueThatOutgrewItsCellAfterTheOneBefore) {
  TestServer server(directory.socket());
  server.publish("a", "small");
  Latest latest("#", directory.socket());
  Value small, large;
  ASSERT_TRUE(latest.get("a", small));
  server.publish("a", std::string(100'000, 'x'));
  ASSERT_TRUE(latest.get("a", large));
  EXPECT_GT(large.sequence, small.sequence);
  EXPECT_GE(large.time_ns, small.time_ns);
  ASSERT_TRUE(latest.get("a", small)) << "the same value again";
  EXPECT_EQ(large.sequence, small.sequence);
  EXPECT_EQ(large.time_ns, small.time_ns);
}

TEST_F(ControlSocket, RefusesWithTheReason) {
  ServerOptions limits;
  limits.registry.consumers_max = 1;
  TestServer server(directory.socket(), limits);
  EXPECT_NE(refusal("secret/#", options()).find("not allowed"), std::string::npos);
  EXPECT_NE(refusal("", options()).find("not a valid topic filter"), std::string::npos);
  EXPECT_NE(refusal("#", lossless("b", {"nobody"})).find("given as `after`"), std::string::npos);
  Reader only("#", options());
  EXPECT_NE(refusal("#", options()).find("limit"), std::string::npos);
}

TEST_F(ControlSocket, RefusesTheWrongUser) {
  ServerOptions nobody;
  nobody.forbidden_uids = {::getuid()};
  TestServer server(directory.socket(), nobody);
  EXPECT_NE(refusal("#", options()).find("not allowed"), std::string::npos);
}

TEST_F(ControlSocket, MalformedRequestEndsThatConnectionAlone) {
  TestServer server(directory.socket());
  Reader reader("#", options());
  shm::UniqueFd socket = shm::connect_to(directory.socket());
  ASSERT_EQ(::send(socket.get(), "\x77 nonsense nonsense", 19, MSG_NOSIGNAL), 19);
  std::string answer;
  char buffer[256];
  for (ssize_t count; (count = ::recv(socket.get(), buffer, sizeof buffer, 0)) > 0;) {
    answer.append(buffer, static_cast<std::size_t>(count));
  }
  EXPECT_FALSE(answer.empty()) << "it is refused, then disconnected";
  server.publish("a", "still here");
  EXPECT_EQ(next_payload(reader), "still here");
}

TEST_F(ControlSocket, DescriptorsThatAreSentToTheServerAreClosed) {
  TestServer server(directory.socket());
  shm::UniqueFd socket = shm::connect_to(directory.socket());
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  shm::send_with_descriptors(socket.get(), "\x01", std::span(&pipe_ends[1], 1), 0);
  ::close(pipe_ends[1]);
  char byte;
  EXPECT_EQ(::read(pipe_ends[0], &byte, 1), 0) << "the server does not hold the writing end";
  ::close(pipe_ends[0]);
}

TEST_F(ControlSocket, AThousandReadersLeaveNothingBehind) {
  TestServer server(directory.socket());
  { Reader warm_up("#", options()); }
  server.await([](Registry& registry) { return registry.consumer_count() == 0; });
  const std::size_t before = open_descriptors();
  for (int i = 0; i < 1'000; ++i) {
    Reader reader(i % 2 == 0 ? "#" : "a/+", i % 3 == 0 ? lossless() : options());
  }
  server.await([](Registry& registry) {
    registry.tick(~0ull >> 1);
    return registry.consumer_count() == 0 && registry.feed_count() == 0;
  });
  while (server.loop().figures().clients != 0) ::sched_yield();
  while (open_descriptors() > before) ::sched_yield();  // the last are closed a moment later
}

TEST_F(ControlSocket, StopEndsTheWaitOfASleepingReader) {
  TestServer server(directory.socket());
  Reader reader("#", options());
  std::thread stopper([&] { reader.stop(); });
  MessageCopy message;
  EXPECT_EQ(reader.next_copy(message), Status::stopped);
  stopper.join();
}

TEST_F(ControlSocket, SecondServerAtTheSamePathIsToldSo) {
  TestServer first(directory.socket());
  TestServer second(directory.socket());
  EXPECT_NE(second.error().find("another server listens"), std::string::npos);
}

TEST_F(ControlSocket, AFileThatIsNoSocketIsLeftAlone) {
  const std::string path = directory.path() + "/local.sock";
  std::ofstream(path) << "somebody's";
  TestServer server(path);
  EXPECT_NE(server.error().find("is not a socket"), std::string::npos);
  std::string content;
  std::ifstream(path) >> content;
  EXPECT_EQ(content, "somebody's");
}

TEST_F(ControlSocket, StoppedServerLeavesNoSocketOnTheFileSystem) {
  { TestServer server(directory.socket()); }
  EXPECT_NE(::access(directory.socket().c_str(), F_OK), 0);
}

TEST_F(ControlSocket, LossyReaderKnowsWhatItMissed) {
  ServerOptions small;
  small.registry.ring_bytes = 4'096;
  small.registry.frame_bytes_max = 1'024;
  TestServer server(directory.socket(), small);
  Reader reader("#", options());
  for (int i = 1; i <= 500; ++i) server.publish("a", std::to_string(i));
  std::uint64_t seen = 0;
  MessageCopy message;
  while (reader.next_copy(message, std::chrono::milliseconds(1)) == Status::message) ++seen;
  EXPECT_GT(seen, 0u);
  EXPECT_EQ(seen + reader.missed(), 500u);
}

}  // namespace
}  // namespace millrace::local
