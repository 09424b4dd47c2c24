// The control socket with real processes, which are killed, stopped and restarted.
#include <sched.h>

#include <memory>
#include <optional>

#include "control_fixture.hpp"
#include "tests/shm/process.hpp"

namespace millrace::local {
namespace {

using test::Child;
using test::Signal;

TEST_F(ControlSocket, KilledLosslessReaderNoLongerHoldsTheGate) {
  ServerOptions small;
  small.registry.ring_bytes = 4'096;
  small.registry.frame_bytes_max = 1'024;
  small.registry.lease_ns = 0;  // none, so only the end of the connection can help
  TestServer server(directory.socket(), small);
  Signal attached;
  Child victim([&] {
    Reader reader("#", lossless());
    attached.raise();
    for (;;) ::pause();
    return false;
  });
  attached.await();
  for (int i = 0; i < 100; ++i) server.publish("a", std::string(100, 'x'));
  server.await([](Registry& registry) {
    return registry.figures().rings.front().stats.overflow_frames > 0;
  });
  victim.send(SIGKILL);
  victim.await();
  server.await([](Registry& registry) { return registry.consumer_count() == 0; });
}

TEST_F(ControlSocket, StoppedLosslessReaderIsEvictedAndToldSo) {
  ServerOptions small;
  small.registry.ring_bytes = 4'096;
  small.registry.frame_bytes_max = 1'024;
  small.registry.lease_ns = 50'000'000;
  TestServer server(directory.socket(), small);
  Signal attached;
  Child victim([&] {
    Reader reader("#", lossless());
    attached.raise();
    ::raise(SIGSTOP);
    for (;;) {
      MessageCopy message;
      const Status status = reader.next_copy(message);
      if (status == Status::evicted) {
        return reader.last_error().find("lease") != std::string::npos;
      }
      if (status != Status::message) return false;
    }
  });
  attached.await();
  victim.await_stop();
  server.publish("a", "x");
  for (int i = 0; i < 100; ++i) server.publish("a", std::string(100, 'x'));
  server.await([](Registry& registry) { return registry.consumer_count() == 0; });
  victim.send(SIGCONT);
  EXPECT_TRUE(victim.succeeded());
}

TEST_F(ControlSocket, ReaderStaysBehindItsPredecessorUntilThatOneDies) {
  TestServer server(directory.socket());
  Signal first_attached, go_on;
  Child first([&] {
    Reader reader("#", lossless("first"));
    first_attached.raise();
    MessageCopy message;
    if (reader.next_copy(message) != Status::message) return false;
    reader.release();
    go_on.await();
    for (;;) ::pause();
    return false;
  });
  first_attached.await();
  // It can be named as a predecessor once the server knows that it has mapped its page.
  std::optional<Reader> second;
  while (!second) {
    try {
      second.emplace("#", lossless("second", {"first"}));
    } catch (const Error&) {
      ::sched_yield();
    }
  }
  server.publish("a", "1");
  server.publish("a", "2");
  EXPECT_EQ(next_payload(*second), "1");
  MessageCopy message;
  EXPECT_EQ(second->next_copy(message, std::chrono::milliseconds(20)), Status::timeout)
      << "the first reader has not released the second message";
  go_on.raise();
  first.send(SIGKILL);
  first.await();
  EXPECT_EQ(next_payload(*second), "2") << "it no longer has a predecessor";
}

TEST_F(ControlSocket, KilledServerIsNoticedAtOnceAndFoundAgain) {
  const auto serve = [&](std::uint64_t epoch, const Signal& up) {
    ServerOptions options;
    options.registry.epoch = epoch;
    TestServer server(directory.socket(), options);
    if (!server.error().empty()) return false;
    up.raise();
    for (int i = 0;; ++i) {
      server.publish("a", std::to_string(i));
      ::sched_yield();
    }
  };
  Signal first_up, second_up;
  auto first = std::make_unique<Child>([&] { return serve(1, first_up); });
  first_up.await();
  Reader reader("#", options());
  Publisher publisher({directory.socket(), "p"});
  EXPECT_EQ(reader.epoch(), 1u);
  MessageCopy message;
  ASSERT_EQ(reader.next_copy(message), Status::message);
  first->send(SIGKILL);
  first->await();
  Status status;
  while ((status = reader.next_copy(message)) == Status::message) {
  }
  EXPECT_EQ(status, Status::disconnected);
  while (publisher.publish("b", "x") != Published::disconnected) ::sched_yield();
  Child second([&] { return serve(2, second_up); });  // the stale socket does not stop it
  second_up.await();
  EXPECT_EQ(reader.next_copy(message), Status::reconnected);
  EXPECT_EQ(reader.epoch(), 2u);
  EXPECT_EQ(reader.next_copy(message), Status::message);
  EXPECT_EQ(publisher.publish("b", "x"), Published::taken);
  EXPECT_EQ(publisher.epoch(), 2u);
  second.send(SIGKILL);
  second.await();
}

}  // namespace
}  // namespace millrace::local
