// Late binding on real sockets.
#include "server/net/late_binding.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <set>
#include <string>

#include "tests/server/mqtt/front_end.hpp"
#include "tests/server/running_server.hpp"

namespace millrace::server {
namespace {

Config with_unread_bytes(Config config, std::uint64_t bytes) {
  config.outbox.unread_bytes = bytes;
  return config;
}

struct Listening final : LateBinding::User {
  int calls = 0;
  void on_reader_progress() override { ++calls; }
};

TEST(LateBinding, FallsBackToTheConfiguredCreditWhereTcpTellsNothing) {
  FrontEnd front(with_unread_bytes({}, 8192));
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  Listening user;
  {
    LateBinding late(front.thread, user, pair[0]);
    EXPECT_FALSE(late.written(1'000'000));
    broker::command::Drained drained;
    late.report(drained);
    EXPECT_FALSE(drained.late_credit_bytes);
    EXPECT_EQ(late.terms().write_bytes_max, SIZE_MAX);
    EXPECT_TRUE(front.thread.looks().empty());
  }
  EXPECT_EQ(front.thread.counters().late_binding_unknown.value(), 1u);
  ::close(pair[0]);
  ::close(pair[1]);
}

// Both ends of a TCP connection over loopback.
struct LateBindingTest : testing::Test {
  FrontEnd front{with_unread_bytes({}, 8192)};
  Listening user;
  int ours = -1;
  int readers = -1;

  void SetUp() override {
    const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), length), 0);
    ASSERT_EQ(::listen(listener, 1), 0);
    ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length);
    readers = ::socket(AF_INET, SOCK_STREAM, 0);
    ASSERT_EQ(::connect(readers, reinterpret_cast<sockaddr*>(&address), length), 0);
    ours = ::accept(listener, nullptr, nullptr);
    ::close(listener);
  }
  void TearDown() override {
    ::close(ours);
    ::close(readers);
  }
  void write(std::size_t bytes) const {
    const std::string data(bytes, 'x');
    ASSERT_EQ(::send(ours, data.data(), data.size(), 0), static_cast<ssize_t>(bytes));
  }
  void read(std::size_t bytes) const {
    std::string data(bytes, 'x');
    ASSERT_EQ(::recv(readers, data.data(), data.size(), MSG_WAITALL), static_cast<ssize_t>(bytes));
  }
  static std::uint32_t credit(LateBinding& late) {
    broker::command::Drained drained;
    late.report(drained);
    return drained.late_credit_bytes.value_or(UINT32_MAX);
  }
};

// The processor may have heard, just now, of no credit from one that was there before it.
TEST_F(LateBindingTest, TellsItsCreditAtOnceAndThenNotUntilItIsNearlyUsedUp) {
  LateBinding late(front.thread, user, ours);
  EXPECT_TRUE(late.written(0));
  EXPECT_GT(credit(late), 0u);
  EXPECT_FALSE(late.written(0));
}

TEST_F(LateBindingTest, LooksOnlyWhenTheCreditIsNearlyUsedUp) {
  LateBinding late(front.thread, user, ours);
  credit(late);
  EXPECT_FALSE(late.written(1000));
  EXPECT_FALSE(late.written(2000));
  EXPECT_TRUE(front.thread.looks().empty());
}

// Half more than the limit for one that seems to read at once all it gets, and twice that as long as
// it may be going on unseen.
TEST_F(LateBindingTest, GivesLittleCreditBeyondTheLimitWhileTheReaderReadsNothing) {
  LateBinding late(front.thread, user, ours);
  const auto limit = 3 * static_cast<std::uint32_t>(front.settings->config.outbox.unread_bytes);
  std::uint32_t sent = 0;
  while (sent < 2 * limit) {
    write(512);
    sent += 512;
    late.written(512);
    const std::uint32_t left = credit(late);
    if (left == 0) break;
    EXPECT_LE(left + sent, limit + 1024);
  }
  EXPECT_LE(sent, limit + 1024);
  EXPECT_FALSE(front.thread.looks().empty()) << "nothing would ever look again";
}

TEST_F(LateBindingTest, GivesCreditAgainWhenTheReaderHasRead) {
  LateBinding late(front.thread, user, ours);
  std::uint32_t sent = 0;
  do {
    write(512);
    sent += 512;
    late.written(512);
  } while (credit(late) > 0);
  read(sent);  // the buffer is empty: TCP tells it at once
  bool more = false;
  while (!more) more = late.written(0);
  EXPECT_GT(credit(late), 0u);
}

// The whole way: how many bytes a reader that stood still while much was published has to read
// until it has the newest value of each topic.
std::size_t bytes_until_newest(const Config& config) {
  const auto server = start_server(config);
  const std::uint16_t port = server->port("tcp");
  constexpr int topics = 20;
  constexpr int rounds = 200;
  constexpr std::size_t payload_bytes = 200;
  Peer reader(port);
  reader.connect("reader");
  reader.subscribe("$latest/t/#");
  Peer publisher(port);
  publisher.connect("publisher");
  for (int round = 1; round <= rounds; ++round) {
    for (int topic = 0; topic < topics; ++topic) {
      std::string payload = std::to_string(round);
      payload.resize(payload_bytes, ' ');
      auto publish = publisher.publish_packet("t/" + std::to_string(topic), payload);
      publish.qos = protocol::QoS::at_least_once;
      publish.packet_id = static_cast<std::uint16_t>(1 + topic);
      publisher.send(protocol::Packet(publish));
    }
    for (int topic = 0; topic < topics; ++topic) publisher.expect<protocol::Puback>();
  }
  std::set<std::string> newest;
  std::size_t payloads = 0;
  while (newest.size() < topics) {
    const auto publish = reader.expect<protocol::Publish>();
    ++payloads;
    if (publish.payload.starts_with(std::to_string(rounds))) newest.insert(publish.topic);
  }
  return payloads * payload_bytes;
}

TEST(LateBindingOfTheServer, LeavesAReaderThatStandsStillLittleThatIsOld) {
  EXPECT_LT(bytes_until_newest(with_unread_bytes(test_config(), 8192)), 60'000u);
}

TEST(LateBindingOfTheServer, IsOffWhereNoLimitIsConfigured) {
  EXPECT_GT(bytes_until_newest(with_unread_bytes(test_config(), 0)), 60'000u)
      << "it fills the reader's buffer";
}

}  // namespace
}  // namespace millrace::server
