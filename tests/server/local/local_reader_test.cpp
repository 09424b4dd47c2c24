// The client library at a control socket: several filters, wildcards, poll loops, coroutines,
// limits.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <millrace/local_asio.hpp>
#include <thread>

#include "control_fixture.hpp"

namespace millrace::local {
namespace {

using ::testing::HasSubstr;
using Strings = std::vector<std::string>;

constexpr auto at_once = std::chrono::nanoseconds(0);

class LocalReader : public ControlSocket {
 protected:
  ReaderOptions pollable() const {
    ReaderOptions options = this->options();
    options.pollable = true;
    return options;
  }
  // Reads what there is without waiting; "" at the end.
  static std::string next_now(Reader& reader) {
    MessageCopy message;
    const Status status = reader.next_copy(message, at_once);
    if (status == Status::timeout) return "";
    return status == Status::message ? message.payload : "status " + std::to_string(int(status));
  }
  static bool is_readable(const Reader& reader, int timeout_ms) {
    pollfd wait{reader.fd(), POLLIN, 0};
    return ::poll(&wait, 1, timeout_ms) == 1;
  }
  // Polls as long as there is nothing.
  static Status await_status(Reader& reader, MessageCopy& message) {
    for (;;) {
      const Status status = reader.next_copy(message, at_once);
      if (status != Status::timeout) return status;
      EXPECT_TRUE(is_readable(reader, -1));
    }
  }
  static std::string await_next(Reader& reader) {
    for (;;) {
      const std::string payload = next_now(reader);
      if (!payload.empty()) return payload;
      EXPECT_TRUE(is_readable(reader, -1));
    }
  }
};

TEST_F(LocalReader, OfSeveralFiltersReadsEachMessageOnceInOrder) {
  TestServer server(directory.socket());
  Reader reader({"a/+", "a/b", "c/#"}, options());
  for (const char* topic : {"a/b", "x", "c", "a/c", "c/d"}) server.publish(topic, topic);
  for (const char* topic : {"a/b", "c", "a/c", "c/d"}) EXPECT_EQ(next_payload(reader), topic);
  EXPECT_EQ(next_now(reader), "");
}

TEST_F(LocalReader, OfTheSameFiltersInAnotherOrderSharesTheRing) {
  TestServer server(directory.socket());
  Reader first({"a", "b"}, options()), second({"b", "a", "b"}, options());
  server.await([](Registry& registry) { return registry.feed_count() == 1; });
  EXPECT_EQ(server.figures().rings.front().filter, "a,b");
}

TEST_F(LocalReader, IsRefusedForOneFilterOfSeveralWhichIsNamed) {
  TestServer server(directory.socket());
  EXPECT_THAT(refusal(Strings{"a", "secret/b"}, options()), HasSubstr("access rules: secret/b"));
}

TEST_F(LocalReader, WithoutOrWithTooManyFiltersIsRefused) {
  TestServer server(directory.socket());
  EXPECT_THAT(refusal(Strings{}, options()), HasSubstr("1 to 64 filters"));
  EXPECT_THAT(refusal(Strings(65, "a"), options()), HasSubstr("1 to 64 filters"));
  EXPECT_EQ(refusal(Strings(64, "a"), options()), "attached");
}

TEST_F(LocalReader, WithStarWildcardsMatchesLevelsAndRest) {
  TestServer server(directory.socket());
  ReaderOptions star = options();
  star.wildcards = Wildcards::star;
  Reader level("a/*/c", star), rest("a/**", star);
  EXPECT_EQ(level.warning(), "");
  server.publish("a/b/c", "1");
  server.publish("a/b/d", "2");
  EXPECT_EQ(next_payload(level), "1");
  EXPECT_EQ(next_now(level), "");
  EXPECT_EQ(next_payload(rest), "1");
  EXPECT_EQ(next_payload(rest), "2");
}

TEST_F(LocalReader, WarnsOfAStarThatIsTakenLiterally) {
  TestServer server(directory.socket());
  Reader reader("a/*", options());
  EXPECT_THAT(reader.warning(), HasSubstr("* in the filter a/*"));
  server.publish("a/b", "not this");
  server.publish("a/*", "literally");
  EXPECT_EQ(next_payload(reader), "literally");
  EXPECT_EQ(Reader("a*/+", options()).warning(), "") << "only a level that is just a star";
  EXPECT_THAT(Latest("*", directory.socket()).warning(), HasSubstr("wildcards"));
  EXPECT_THAT(refusal("secret/*", options()), HasSubstr("wildcards")) << "also when it is refused";
}

TEST_F(LocalReader, LatestTakesStarWildcards) {
  TestServer server(directory.socket());
  server.publish("a/b", "1");
  Latest latest("a/*", directory.socket(), Wildcards::star);
  Value value;
  ASSERT_TRUE(latest.get("a/b", value));
  EXPECT_EQ(value.payload, "1");
}

TEST_F(LocalReader, PublisherRefusesWhatIsNoTopicAtOnce) {
  TestServer server(directory.socket());
  Publisher publisher({directory.socket(), "p"});
  for (const char* topic : {"", "a/+", "#", "a/#", "$SYS/x", "$share/g/a", "$latest/a", "\xff"}) {
    EXPECT_EQ(publisher.publish(topic, "x"), Published::invalid) << topic;
  }
  EXPECT_EQ(publisher.publish("a", "x", false, 3), Published::invalid);
  EXPECT_EQ(publisher.publish("a", "x", false, -1), Published::invalid);
  EXPECT_EQ(publisher.publish("a", "x", false, 2), Published::taken);
}

TEST_F(LocalReader, RefusalNamesTheLimitAndItsKey) {
  ServerOptions limits;
  limits.registry.consumers_max = 2;
  limits.registry.rings_max = 1;
  limits.registry.tables_max = 0;
  limits.registry.snapshot_bytes_max = 4096;
  limits.loop.publisher_rings_max = 0;
  TestServer server(directory.socket(), limits);
  server.publish("a", std::string(5000, 'x'));
  ReaderOptions latest = options();
  latest.start = Start::latest;
  EXPECT_THAT(refusal("#", latest), HasSubstr("local.snapshot_bytes_max = 4096"));
  Reader first("#", options());
  EXPECT_THAT(refusal("b", options()), HasSubstr("local.rings_max = 1"));
  Reader second("#", options());
  EXPECT_THAT(refusal("#", options()), HasSubstr("local.consumers_max = 2"));
  const auto error = [](auto&& make) -> std::string {
    try {
      make();
    } catch (const Error& error) {
      return error.what();
    }
    return "attached";
  };
  EXPECT_THAT(error([&] {
                Publisher({directory.socket(), "p"});
              }),
              HasSubstr("local.publishers_max = 0"));
  EXPECT_THAT(error([&] { Latest("#", directory.socket()); }), HasSubstr("local.tables_max = 0"));
}

// --- poll loops ----------------------------------------------------------------------------------

TEST_F(LocalReader, FdIsReadableWhenThereIsAMessageAndNotBefore) {
  TestServer server(directory.socket());
  Reader reader("#", pollable());
  int readable_before = 0;  // sometimes, where the kernel lacks membarrier
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(next_now(reader), "");
    readable_before += is_readable(reader, 0);
    server.publish("a", std::to_string(i));
    server.call([] {});  // until the batch was released
    EXPECT_TRUE(is_readable(reader, -1));
    EXPECT_EQ(next_now(reader), std::to_string(i));
  }
  EXPECT_LT(readable_before, 100);
}

TEST_F(LocalReader, FdMissesNoMessageOfAFlood) {
  TestServer server(directory.socket());
  ReaderOptions options = lossless();
  options.pollable = true;
  Reader reader("#", options);
  std::thread publisher([&] {
    for (int i = 0; i < 2'000; ++i) server.publish("a", std::to_string(i));
  });
  for (int i = 0; i < 2'000; ++i) ASSERT_EQ(await_next(reader), std::to_string(i));
  publisher.join();
}

TEST_F(LocalReader, FdIsReadableAfterStopAndTheEndOfTheServer) {
  auto server = std::make_unique<TestServer>(directory.socket());
  Reader reader("#", pollable());
  EXPECT_EQ(next_now(reader), "");
  reader.stop();
  MessageCopy message;
  EXPECT_TRUE(is_readable(reader, -1));
  EXPECT_EQ(await_status(reader, message), Status::stopped);
  EXPECT_EQ(next_now(reader), "");
  const int fd = reader.fd();
  server.reset();
  EXPECT_EQ(await_status(reader, message), Status::disconnected);
  int readable = 0;  // now and then, for the next attempt
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(reader.next_copy(message, at_once), Status::timeout) << "no server yet";
    readable += is_readable(reader, 0);
  }
  EXPECT_LT(readable, 100);
  server = std::make_unique<TestServer>(directory.socket());
  EXPECT_EQ(await_status(reader, message), Status::reconnected);
  EXPECT_EQ(reader.fd(), fd);
  EXPECT_EQ(next_now(reader), "");
  server->publish("a", "after");
  EXPECT_EQ(await_next(reader), "after");
}

TEST_F(LocalReader, FdIsReadableAfterAnEviction) {
  ServerOptions small;
  small.registry.ring_bytes = small.registry.overflow_bytes_max = 4'096;
  small.registry.frame_bytes_max = 1'024;
  TestServer server(directory.socket(), small);
  ReaderOptions options = lossless();
  options.pollable = true;
  Reader reader("#", options);
  EXPECT_EQ(next_now(reader), "");
  for (int i = 0; i < 200; ++i) server.publish("a", std::string(100, 'x'));
  MessageCopy message;
  Status status;
  while ((status = await_status(reader, message)) == Status::message) {
  }
  EXPECT_EQ(status, Status::evicted);
  EXPECT_EQ(await_status(reader, message), Status::reconnected);
}

TEST_F(LocalReader, FdOfAReaderBehindAnotherIsReadableOnceThatOneMovesOn) {
  TestServer server(directory.socket());
  Reader first("#", lossless("first"));
  ReaderOptions after = lossless("second", {"first"});
  after.pollable = true;
  std::unique_ptr<Reader> made;  // once the one before it is there
  while (!made) {
    try {
      made = std::make_unique<Reader>("#", after);
    } catch (const Error&) {
      std::this_thread::yield();
    }
  }
  Reader& second = *made;
  server.publish("a", "1");
  EXPECT_EQ(next_now(second), "");
  EXPECT_EQ(next_payload(first), "1");
  first.release();
  EXPECT_EQ(await_next(second), "1");
}

TEST_F(LocalReader, FdOfAReaderThatIsNotPollableIsAnError) {
  TestServer server(directory.socket());
  Reader reader("#", options());
  EXPECT_THROW(reader.fd(), Error);
}

// A consumer can do nothing to its wake pipe that makes the server wait or end.
TEST_F(LocalReader, ServerSurvivesAFullWakePipeAndOneThatBlocks) {
  TestServer server(directory.socket());
  Reader witness("#", options());
  shm::UniqueFd socket = shm::connect_to(directory.socket());
  shm::AttachRequest request;
  request.wants_wake_pipe = true;
  request.filters = {"#"};
  const std::string bytes = shm::encode(shm::Request(request));
  shm::send_with_descriptors(socket.get(), bytes, {}, 0);
  std::vector<shm::UniqueFd> fds;
  std::byte buffer[4096];
  ASSERT_GT(shm::receive_with_descriptors(socket.get(), buffer, fds, 0), 0);
  ASSERT_EQ(fds.size(), 3u);  // ring, page, pipe
  const shm::Mapping page =
      shm::Mapping::map(fds[1].get(), shm::page_bytes, shm::Access::read_write);
  ASSERT_EQ(::fcntl(fds[2].get(), F_SETFL, 0), 0);  // blocking, at the consumer's end
  const shm::UniqueFd writing(
      ::open(("/proc/self/fd/" + std::to_string(fds[2].get())).c_str(), O_WRONLY | O_NONBLOCK));
  char fill[4096] = {};
  while (writing && ::write(writing.get(), fill, sizeof fill) > 0) {
  }
  page.as<shm::PositionPage>()->sleep_word.store(1);  // asleep, as it says
  server.publish("a", "1");
  EXPECT_EQ(next_payload(witness), "1");
  fds.clear();  // nobody reads the pipe
  page.as<shm::PositionPage>()->sleep_word.store(3);
  server.publish("a", "2");
  EXPECT_EQ(next_payload(witness), "2");
}

// --- coroutines ----------------------------------------------------------------------------------

TEST_F(LocalReader, IsAwaitedInACoroutine) {
  TestServer server(directory.socket());
  boost::asio::io_context context;
  AsioReader reader(context.get_executor(), Strings{"a", "b"}, options());
  Strings seen;
  boost::asio::co_spawn(
      context,
      [&]() -> boost::asio::awaitable<void> {
        MessageCopy message;
        while (seen.size() < 300) {
          const Status status = co_await reader.next(message);
          EXPECT_EQ(status, Status::message);
          seen.push_back(message.payload);
        }
      },
      boost::asio::detached);
  std::thread publisher([&] {
    for (int i = 0; i < 300; ++i) server.publish(i % 2 == 0 ? "a" : "b", std::to_string(i));
  });
  context.run();
  publisher.join();
  for (std::size_t i = 0; i < 300; ++i) EXPECT_EQ(seen[i], std::to_string(i));
}

TEST_F(LocalReader, CloseEndsAnAwait) {
  TestServer server(directory.socket());
  boost::asio::io_context context;
  AsioReader reader(context.get_executor(), "#", options());
  bool ended = false;
  boost::asio::co_spawn(
      context,
      [&]() -> boost::asio::awaitable<void> {
        MessageCopy message;
        try {
          co_await reader.next(message);
        } catch (const boost::system::system_error& error) {
          ended = error.code() == boost::asio::error::operation_aborted;
        }
      },
      boost::asio::detached);
  context.poll();
  reader.close();
  context.run();
  EXPECT_TRUE(ended);
}

}  // namespace
}  // namespace millrace::local
