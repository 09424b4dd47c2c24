// The client library's reader at a control socket that does what the test says.
#include <gtest/gtest.h>
#include <poll.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/shm/include/millrace/local.hpp"
#include "core/shm/ring/ring_writer.hpp"
#include "core/shm/ring/snapshot.hpp"
#include "scripted_server.hpp"
#include "tests/shm/client/next_payload.hpp"
#include "tests/shm/futex.hpp"
#include "tests/shm/ring/ring_fixture.hpp"

namespace millrace::local {
namespace {

using shm::RingOptions;
using shm::RingWriter;
using shm::small;
using shm::small_lossless;
using test::ScriptedServer;

constexpr auto at_once = std::chrono::nanoseconds(0);

class ScriptedReader : public ::testing::Test {
 protected:
  void make(const RingOptions& options) {
    const std::lock_guard lock(mutex);
    writer = RingWriter::make(options);
    ASSERT_TRUE(writer);
  }
  void publish(int count, const std::string& payload) {
    const std::lock_guard lock(mutex);
    for (int i = 0; i < count; ++i) writer->append("t", std::as_bytes(std::span(payload)), 0, 1);
    writer->release(1);
  }
  ReaderOptions options(Policy policy = Policy::lossy) const {
    ReaderOptions options;
    options.socket = server.socket();
    options.policy = policy;
    return options;
  }
  void evict(Reader& reader) {
    server.send({shm::EvictedNotice{shm::Eviction::lease_ended}, {}});
    Message message;
    ASSERT_EQ(reader.next(message), Status::evicted);
  }

  // What the next readers are given of newest values.
  void make_snapshot(const std::vector<std::string>& payloads) {
    const std::lock_guard lock(mutex);
    shm::Snapshot made(1 << 20);
    for (const std::string& payload : payloads) {
      ASSERT_TRUE(made.add("t", std::as_bytes(std::span(payload)), 0, 1));
    }
    snapshot_bytes = made.bytes();
    snapshot = made.take_memory();
  }

  std::optional<ScriptedServer::Answer> answer(const shm::Request& request) {
    const auto* wanted = std::get_if<shm::AttachRequest>(&request);
    if (!wanted) return std::nullopt;
    const std::lock_guard lock(mutex);
    const bool from_oldest = wanted->start == shm::StartAt::oldest;
    start = writer->add_reader(++consumers, from_oldest, 1, wanted->wants_wake_pipe);
    shm::Attached attached;
    attached.epoch = writer->options().epoch;
    attached.consumer_id = consumers;
    attached.position = start.position;
    attached.sequence = start.sequence;
    attached.has_wake_pipe = wanted->wants_wake_pipe;
    std::vector<int> descriptors{writer->fd(), start.consumer_page->fd()};
    if (attached.has_wake_pipe) descriptors.push_back(start.consumer_page->wake_pipe_fd());
    attached.snapshot_bytes = snapshot_bytes;
    if (snapshot) descriptors.push_back(snapshot.get());
    return ScriptedServer::Answer{attached, descriptors};
  }

  std::mutex mutex;  // for what follows: the server's thread attaches readers
  std::unique_ptr<RingWriter> writer;
  shm::Attachment start;  // of the last reader
  std::uint64_t consumers = 0;
  shm::UniqueFd snapshot;
  std::size_t snapshot_bytes = 0;
  ScriptedServer server{[this](const shm::Request& request) { return answer(request); }};
};

TEST_F(ScriptedReader, WithANameWakesUpThoughAnotherTookItsSleepAway) {
  make(small);
  ReaderOptions named = options();
  named.name = "a";
  Reader reader("#", named);
  const auto page =
      shm::Mapping::map(start.consumer_page->fd(), shm::page_bytes, shm::Access::read_only);
  std::thread follower([&] {
    const std::atomic<std::uint32_t> elsewhere{0};
    const auto& word = page.as<const shm::PositionPage>()->sleep_word;
    while (test::move_sleepers(word, elsewhere, 1) != 1) ::sched_yield();
    publish(1, "published after it");
  });
  EXPECT_EQ(next_payload(reader), "published after it");
  follower.join();
}

// A reader of a lossless ring, which has read and released one message.
class Lossless : public ScriptedReader {
 protected:
  Lossless() {
    make(small_lossless);
    reader = std::make_unique<Reader>("#", options(Policy::lossless));
    publish(1, "before");
    EXPECT_EQ(next_payload(*reader), "before");
    reader->release();
  }
  void overflow() { publish(400, std::string(60, 'x')); }

  std::unique_ptr<Reader> reader;
  Message message;
};

// The notice of an eviction comes by another way than the frames, and may come later.
TEST_F(Lossless, IsToldOfItsEvictionBeforeAnythingFromBehindTheGap) {
  overflow();
  ASSERT_EQ(start.consumer_page->eviction(), shm::Eviction::overflow_full);
  EXPECT_EQ(reader->next(message), Status::evicted);
  EXPECT_EQ(reader->next(message), Status::reconnected);
}

TEST_F(Lossless, WithALiftedPageIsDisconnectedBeforeAnyFrameBehindTheGap) {
  start.consumer_page->lift();
  overflow();
  EXPECT_EQ(reader->next(message), Status::disconnected);
}

TEST_F(ScriptedReader, ReleaseTellsOfAMessageThatNextHasReleasedAlready) {
  make(small);
  Reader reader("#", options());
  publish(1, "overwritten");
  Message message;
  ASSERT_EQ(reader.next(message), Status::message);
  publish(400, std::string(60, 'x'));
  EXPECT_FALSE(reader.is_valid());
  while (reader.next(message, at_once) == Status::message) {
  }
  EXPECT_FALSE(reader.release());
  publish(1, "kept");
  ASSERT_EQ(reader.next(message), Status::message);
  EXPECT_TRUE(reader.release());
}

// Else each neighbour that comes and goes would cost a descriptor for as long as there is a load.
TEST_F(ScriptedReader, MeetsItsNeighboursAlsoWhileTheRingNeverRunsEmpty) {
  make({});
  ReaderOptions pollable = options();
  pollable.pollable = true;
  Reader reader("#", pollable);
  Message message;
  ASSERT_EQ(reader.next(message, at_once), Status::timeout);
  const auto predecessor = shm::ConsumerPage::make(2, 1, 0);  // has released nothing
  server.send({shm::NeighbourCame{2, true}, {predecessor->fd()}});
  pollfd wait{reader.fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&wait, 1, -1), 1);  // until it has arrived
  publish(1'000, "x");
  int read = 0;
  while (reader.next(message, at_once) == Status::message) ++read;
  EXPECT_LT(read, 100) << "the others it reads after its predecessor";
}

// --- newest values -------------------------------------------------------------------------------

bool snapshot_is_mapped() {
  std::ifstream maps("/proc/self/maps");
  const std::string text{std::istreambuf_iterator<char>(maps), {}};
  return text.find("memfd:millrace-snapshot") != std::string::npos;
}

TEST_F(ScriptedReader, GivesTheMemoryOfTheSnapshotBackOnceItIsRead) {
  make({});
  make_snapshot({"1", "2"});
  Reader reader("#", options());
  Message message;
  ASSERT_EQ(reader.next(message), Status::message);
  ASSERT_EQ(reader.next(message), Status::message);
  EXPECT_EQ(message.payload, "2");
  EXPECT_TRUE(snapshot_is_mapped()) << "the last message is in it";
  EXPECT_EQ(reader.next(message, at_once), Status::timeout);
  EXPECT_FALSE(snapshot_is_mapped());
}

TEST_F(ScriptedReader, StopEndsTheNextCallAlsoWhileTheSnapshotIsRead) {
  make({});
  make_snapshot({"1", "2"});
  Reader reader("#", options());
  EXPECT_EQ(next_payload(reader), "1");
  reader.stop();
  Message message;
  EXPECT_EQ(reader.next(message), Status::stopped);
  EXPECT_EQ(next_payload(reader), "2");
}

// --- attaching again -----------------------------------------------------------------------------

class AttachedAgain : public ScriptedReader {
 protected:
  AttachedAgain() {
    make({});
    ReaderOptions wanted = options();
    wanted.start = Start::oldest;
    reader = std::make_unique<Reader>("#", wanted);
  }
  std::vector<std::uint64_t> next_sequences(std::size_t count) {
    std::vector<std::uint64_t> all;
    while (all.size() < count) {
      Message message;
      if (reader->next(message) != Status::message) break;
      all.push_back(message.sequence);
    }
    return all;
  }
  void read_three_and_evict() {
    publish(3, "x");
    EXPECT_EQ(next_sequences(3), (std::vector<std::uint64_t>{1, 2, 3}));
    evict(*reader);
  }

  std::unique_ptr<Reader> reader;
};

TEST_F(AttachedAgain, ToTheSameRingReadsNothingTwice) {
  read_three_and_evict();
  publish(2, "x");
  Message message;
  ASSERT_EQ(reader->next(message), Status::reconnected);
  EXPECT_EQ(next_sequences(2), (std::vector<std::uint64_t>{4, 5}));
  EXPECT_TRUE(reader->release());
  EXPECT_EQ(reader->missed(), 0u);
}

TEST_F(AttachedAgain, ToTheSameRingCountsWhatIsNoLongerThere) {
  read_three_and_evict();
  Message message;
  ASSERT_EQ(reader->next(message), Status::reconnected);
  publish(100, std::string(60'000, 'x'));
  const auto read = next_sequences(1);
  ASSERT_EQ(read.size(), 1u);
  EXPECT_EQ(reader->missed(), read.front() - 4) << "the three that were read are not missed";
}

// A ring that nobody reads is freed; the sequences of the next one begin anew.
TEST_F(AttachedAgain, ToAnotherRingReadsAllOfItAndCountsNothing) {
  read_three_and_evict();
  RingOptions next;
  next.ring_id = 2;
  make(next);
  publish(5, "y");
  Message message;
  ASSERT_EQ(reader->next(message), Status::reconnected);
  EXPECT_EQ(next_sequences(5), (std::vector<std::uint64_t>{1, 2, 3, 4, 5}));
  EXPECT_EQ(reader->missed(), 0u);
}

TEST_F(ScriptedReader, AttachedAgainToAnotherRingCountsNothingOfThatOneAsMissed) {
  make({});
  Reader reader("#", options());
  evict(reader);
  RingOptions next;
  next.ring_id = 2;
  make(next);
  publish(1'000, "x");
  Message message;
  ASSERT_EQ(reader.next(message), Status::reconnected);
  EXPECT_EQ(reader.missed(), 0u);
}

}  // namespace
}  // namespace millrace::local
