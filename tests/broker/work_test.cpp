// What a client can make the processor do, counted (ProcessorStats::work_units), not timed: it grows
// with what the client sent and with what it is sent, never with their product.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "tests/broker/users.hpp"
#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

using protocol::Version;

std::uint64_t work_of(World& world, const std::function<void()>& what) {
  const std::uint64_t before = world.processor.stats().work_units.value();
  what();
  return world.processor.stats().work_units.value() - before;
}

SubscriptionRequest plain(std::string name, std::string filter) {
  SubscriptionRequest wanted;
  wanted.name = std::move(name);
  wanted.filter = std::move(filter);
  wanted.mode = Mode::every;
  return wanted;
}

// Filters of so many levels "+" that all match one topic, each with an identifier of its own.
Peer& subscriber_of_all(World& world, const std::string& id, int count, std::uint32_t first) {
  Peer& reader = world.peer(id, Version::v5).connect();
  for (int i = 0; i < count; ++i) {
    const std::string filter = i % 2 == 0 ? "a/b" : "a/+";
    reader.subscribe(plain("$p" + std::to_string(i) + "/" + filter, filter),
                     first + static_cast<std::uint32_t>(i));
  }
  return reader;
}

TEST(Work, OfARouteIsThatOfItsMatchesWhateverTheirIdentifiers) {
  constexpr int count = 2000;
  World world;
  Peer& reader = subscriber_of_all(world, "reader", count, 1);
  Peer& other = subscriber_of_all(world, "other", count, 1);
  Peer& writer = world.peer("writer").connect();
  EXPECT_LE(work_of(world, [&] { writer.publish("a/b", "x"); }), 3u * 2 * count);
  EXPECT_EQ(reader.read().got.size(), static_cast<std::size_t>(count));
  EXPECT_EQ(other.read().got.size(), static_cast<std::size_t>(count));
}

TEST(Work, OfARouteIsThatOfItsMatchesIfEachIdentifierStandsTwice) {
  constexpr int count = 2000;
  World world;
  Peer& reader = world.peer("reader", Version::v5).connect();
  for (int i = 0; i < count; ++i) {
    const std::string filter = i % 2 == 0 ? "a/b" : "a/+";
    reader.subscribe(plain("$p" + std::to_string(i) + "/" + filter, filter),
                     1 + static_cast<std::uint32_t>(i % (count / 2)));
  }
  Peer& writer = world.peer("writer").connect();
  EXPECT_LE(work_of(world, [&] { writer.publish("a/b", "x"); }), 3u * count);
  EXPECT_EQ(reader.read().got.size(), count / 2u);
}

TEST(Work, OfARouteIsThatOfItsMatchesIfOneCopyNamesAllIdentifiers) {
  constexpr int count = 2000;
  ProcessorLimits limits;
  limits.identifiers_in_one_copy = true;
  World world(limits);
  Peer& reader = subscriber_of_all(world, "reader", count, 1);
  Peer& writer = world.peer("writer").connect();
  EXPECT_LE(work_of(world, [&] { writer.publish("a/b", "x"); }), 3u * count);
  ASSERT_EQ(reader.read().got.size(), 1u);
  std::vector<std::uint32_t> all(count);
  std::iota(all.begin(), all.end(), 1u);
  EXPECT_EQ(reader.got[0].identifiers, all);
}

// A reader that is sent one value, with so many snapshots waiting behind the first.
Peer& reader_with_snapshots(World& world, int count) {
  world.peer("writer").connect().publish("a", "v", 1, true).publish("b", "v", 1, true);
  Peer& reader = world.peer("reader");
  reader.receive_maximum = 1;
  reader.connect().subscribe("a", 1);
  for (int i = 0; i < count; ++i) reader.subscribe("b/" + std::to_string(i), 1);
  return reader.subscribe("b", 1);
}

TEST(Work, OfASubscribeIsItsOwnHoweverManySnapshotsWait) {
  constexpr int count = 2000;
  World world;
  Peer& reader = reader_with_snapshots(world, count);
  const auto repeat = [&](const std::string& filter) {
    return work_of(world, [&] {
      for (int i = 0; i < count; ++i) reader.subscribe(filter, 1);
    });
  };
  EXPECT_LE(repeat("b/0"), 2u * count);
  EXPECT_LE(repeat("b"), 2u * count);
  reader.read();
  ASSERT_EQ(reader.got.size(), 1u);
  reader.acknowledge(protocol::PacketType::puback, reader.got[0].packet_id);
  ASSERT_EQ(reader.read().got.size(), 2u);
  EXPECT_EQ(reader.got[1].topic, "b") << "sent once, behind all others";
}

TEST(Work, OfAnUnsubscribeIsItsOwnHoweverManySnapshotsWait) {
  constexpr int count = 2000;
  World world;
  Peer& reader = reader_with_snapshots(world, count);
  EXPECT_LE(work_of(world,
                    [&] {
                      for (int i = count; i-- > 0;) reader.unsubscribe("b/" + std::to_string(i));
                    }),
            2u * count);
  EXPECT_EQ(world.processor.find_session("reader")->deferred.read().snapshots.size(), 2u);
}

// --- Shared groups ---

SubscriptionRequest shared(int qos) {
  SubscriptionRequest wanted = plain("$share/g/a/#", "a/#");
  wanted.share_group = "g";
  wanted.qos = static_cast<std::uint8_t>(qos);
  return wanted;
}

constexpr int member_count = 1000;

std::vector<Peer*> members(World& world, int qos) {
  std::vector<Peer*> all;
  for (int i = 0; i < member_count; ++i) {
    all.push_back(&world.peer("member" + std::to_string(i)));
    all.back()->receive_maximum = 1;
    all.back()->connect(true, 100).subscribe(shared(qos));
  }
  return all;
}

TEST(Work, OfASharedMessageIsTheSameHoweverManyMembersAreOffline) {
  World world;
  for (Peer* one : members(world, 1)) one->close();
  Peer& writer = world.peer("writer").connect();
  const auto publish = [&](int qos) {
    return work_of(world, [&] {
      for (int i = 0; i < member_count; ++i) writer.publish("a/" + std::to_string(i), "v", qos);
    });
  };
  EXPECT_LE(publish(0), 10u * member_count) << "topics are new, so each is matched";
  EXPECT_LE(publish(1), 2u * member_count);
  for (int i = 0; i < member_count; ++i) {
    const Session* session = world.processor.find_session("member" + std::to_string(i));
    ASSERT_EQ(session->pending.size(), 1u) << i << ": served in turn";
  }
  Peer& live = world.peer("member7").connect(false, 100);
  EXPECT_EQ(live.read().got.size(), 1u);
  live.acknowledge(protocol::PacketType::puback, live.got[0].packet_id);
  publish(0);
  EXPECT_EQ(live.read().got.size(), 1u + member_count) << "a live member before all others";
}

TEST(Work, OfASharedMessageIsBoundedHoweverManyMembersAreBehind) {
  World world;
  const std::vector<Peer*> all = members(world, 1);
  Peer& writer = world.peer("writer").connect();
  // The first is sent, the second waits.
  for (int i = 0; i < 2 * member_count; ++i) writer.publish("a/b", "v", 1);
  EXPECT_LE(work_of(world, [&] { writer.publish("a/b", "v", 1); }), 64u);
  EXPECT_LE(work_of(world, [&] { writer.publish("a/b", "v", 0); }), 64u);
}

// --- What ends ---

// The most that one batch does until nothing is left to do, and how many batches that takes.
struct Slices {
  std::uint64_t most = 0;
  int batches = 0;
};

Slices slices_of(World& world, const std::function<void()>& what) {
  Slices slices;
  slices.most = work_of(world, what);
  for (slices.batches = 1; world.processor.has_more(); ++slices.batches) {
    slices.most = std::max(slices.most, work_of(world, [&] {
                             world.processor.begin(world.now_ns);
                             world.processor.finish();
                           }));
  }
  return slices;
}

ProcessorLimits few_removals() {
  ProcessorLimits limits;
  limits.removals_per_batch = 50;
  return limits;
}

TEST(Slices, RemoveTheSubscriptionsOfASessionThatEnds) {
  World world(few_removals());
  Peer& writer = world.peer("writer").connect();
  Peer& reader = world.peer("reader").connect();
  for (int i = 0; i < 1000; ++i) reader.subscribe("a/" + std::to_string(i), 0, Mode::every);
  writer.publish("a/1", "v").publish("a/999", "v");
  const Slices slices = slices_of(world, [&] { reader.close(); });
  EXPECT_LE(slices.most, 100u);
  EXPECT_GE(slices.batches, 10);
  EXPECT_EQ(world.processor.index().size(), 0u);
  EXPECT_EQ(world.processor.index().node_count(), 2u);
}

TEST(Slices, SendNothingToASessionThatHasEnded) {
  World world(few_removals());
  Peer& writer = world.peer("writer").connect();
  Peer& before = world.peer("reader").connect();
  for (int i = 0; i < 1000; ++i) before.subscribe("a/" + std::to_string(i), 1, Mode::every);
  before.close();
  ASSERT_TRUE(world.processor.has_more());
  Peer& after = world.peer("reader").connect().subscribe("a/7", 1, Mode::every);
  for (int i = 0; i < 1000; ++i) {
    writer.publish("a/" + std::to_string(i), "v", 1);
    if (i % 100 == 0) world.run_until_idle();
  }
  EXPECT_EQ(after.read().got.size(), 1u);
  EXPECT_EQ(world.processor.index().size(), 1u);
}

TEST(Slices, RemoveWhatExpiresAtOnce) {
  World world(few_removals());
  for (int i = 0; i < 10; ++i) {
    Peer& reader = world.peer("reader" + std::to_string(i)).connect(true, 1);
    for (int k = 0; k < 100; ++k) reader.subscribe("a/" + std::to_string(k), 1, Mode::every);
    reader.close();
  }
  world.now_ns += 2'000'000'000;
  const Slices slices = slices_of(world, [&] { world.end_batch(); });
  EXPECT_LE(slices.most, 100u);
  world.run_until_idle();
  EXPECT_EQ(world.processor.stats().sessions.value(), 0u);
  EXPECT_EQ(world.processor.index().size(), 0u);
}

// A reader that takes nothing, for which so many values wait.
Peer& slow_reader(World& world, std::uint32_t expiry_s, Mode mode, int qos, int count) {
  Peer& reader = world.peer("slow");
  reader.receive_maximum = 1;
  reader.connect(true, expiry_s).subscribe("a/#", qos, mode);
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < count; ++i) writer.publish("a/" + std::to_string(i), "v", qos);
  return reader;
}

TEST(Slices, FreeWhatWaitedForASessionThatEnds) {
  for (const std::uint32_t expiry_s : {0u, 100u}) {
    for (const Mode mode : {Mode::every, Mode::latest, Mode::adaptive}) {
      ProcessorLimits limits = few_removals();
      limits.credit_bytes = limits.credit_latest_bytes = 1;
      World world(limits);
      Peer& reader = slow_reader(world, expiry_s, mode, 0, 1000);
      const ProcessorStats& stats = world.processor.stats();
      ASSERT_EQ(stats.pending.value(), 999u);
      const Slices slices = slices_of(world, [&] { reader.close(); });
      EXPECT_LE(slices.most, 100u);
      EXPECT_GE(slices.batches, 10);
      EXPECT_EQ(stats.pending.value(), 0u);
      EXPECT_EQ(stats.pending_bytes.value(), 0u);
      EXPECT_EQ(stats.dropped[static_cast<std::size_t>(Drop::disconnected)].value(), 999u);
    }
  }
}

// To free 1 MiB takes as long as to free hundreds of short messages.
TEST(Slices, FreeFewLongMessagesAtATime) {
  constexpr int count = 50;
  ProcessorLimits limits = few_removals();
  limits.credit_bytes = 1;
  World world(limits);
  Peer& reader = world.peer("slow").connect().subscribe("a", 0, Mode::every);
  Peer& writer = world.peer("writer").connect();
  const std::string payload(std::size_t{limits.removals_per_batch} * 4096, 'v');
  for (int i = 0; i < count; ++i) writer.publish("a", payload);
  ASSERT_EQ(world.processor.stats().pending.value(), count - 1u);
  const Slices slices = slices_of(world, [&] { reader.close(); });
  EXPECT_LE(slices.most, 3u * limits.removals_per_batch);
  EXPECT_GE(slices.batches, count / 2);
}

TEST(Slices, FreeWhatASessionThatEndsHadNotAcknowledged) {
  World world(few_removals());
  Peer& reader = world.peer("reader").connect(true, 0).subscribe("a", 1, Mode::every);
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 1000; ++i) writer.publish("a", "v", 1);
  ASSERT_EQ(world.processor.stats().inflight.value(), 1000u);
  const Slices slices = slices_of(world, [&] { reader.close(); });
  EXPECT_LE(slices.most, 100u);
  EXPECT_GE(slices.batches, 10);
  EXPECT_EQ(world.processor.stats().inflight.value(), 0u);
  EXPECT_EQ(world.processor.stats().dropped[static_cast<std::size_t>(Drop::session_ended)].value(),
            1000u);
}

// Two clients that take turns with Clean Start had the processor hand on a full queue for each CONNECT.
TEST(Slices, HandOnWhatWaitedForAMemberOfASharedGroup) {
  constexpr std::size_t count = 1000;
  World world(few_removals());
  world.peer("first").connect(true, 100).subscribe(shared(1)).close();
  Peer& writer = world.peer("writer").connect();
  for (std::size_t i = 0; i < count; ++i) writer.publish("a/b", std::to_string(i), 1);
  ASSERT_EQ(world.processor.find_session("first")->pending.size(), count);
  world.peer("second").connect(true, 100).subscribe(shared(1)).close();
  const Slices slices = slices_of(world, [&] { world.peer("first").connect(true, 100); });
  EXPECT_LE(slices.most, 100u);
  EXPECT_GE(slices.batches, 10);
  EXPECT_EQ(world.processor.find_session("second")->pending.size(), count);
  EXPECT_EQ(world.processor.stats().pending.value(), count);
  Peer& second = world.peer("second").connect(false, 100).read();
  ASSERT_EQ(second.got.size(), count);
  for (std::size_t i = 0; i < count; ++i) ASSERT_EQ(second.got[i].payload, std::to_string(i));
}

TEST(Slices, DropWhatWaitedForAGroupThatEndsMeanwhile) {
  World world(few_removals());
  world.peer("first").connect(true, 100).subscribe(shared(1)).close();
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 1000; ++i) writer.publish("a/b", "v", 1);
  Peer& second = world.peer("second").connect().subscribe(shared(1));
  world.peer("first").connect(true, 100);
  ASSERT_TRUE(world.processor.has_more());
  second.close();
  world.run_until_idle();
  EXPECT_EQ(world.processor.stats().pending.value(), 0u);
  world.processor.update_ledger();
  EXPECT_EQ(world.processor.ledger().bytes(Holding::queues), 0u);
}

Slices slices_of_timers(World& world) {
  return slices_of(world, [&] {
    world.processor.begin(world.now_ns);
    world.processor.finish();
  });
}

// A burst that many readers do not take: each has its timer after it, and these fall due together.
TEST(Slices, CollapseTheBacklogsThatBecomeStaleTogether) {
  constexpr int readers = 20;
  constexpr int count = 50;
  ProcessorLimits limits;
  limits.credit_bytes = limits.credit_latest_bytes = 1;
  limits.units_per_batch = 4 * 4 * count;
  World world(limits);
  for (int i = 0; i < readers; ++i) {
    world.peer("reader" + std::to_string(i)).connect().subscribe("a/#", 0, Mode::adaptive);
  }
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i <= count; ++i) writer.publish("a/" + std::to_string(i), "v");
  world.run_until_idle();
  const ProcessorStats& stats = world.processor.stats();
  ASSERT_EQ(stats.pending.value(), static_cast<std::uint64_t>(readers) * count);
  ASSERT_EQ(stats.slow_sessions.value(), 0u);
  world.now_ns += limits.stale_ns();
  const Slices slices = slices_of_timers(world);
  EXPECT_LE(slices.most, 2u * 4 * count + 100) << "a quarter of a slice, and one backlog beyond";
  EXPECT_GE(slices.batches, readers / 2);
  EXPECT_EQ(stats.slow_sessions.value(), static_cast<std::uint64_t>(readers));
}

TEST(Slices, EndTheRateLimitsThatAreOverTogether) {
  constexpr int readers = 20;
  constexpr int count = 50;
  ProcessorLimits limits;
  limits.units_per_batch = 4 * 4 * count;
  World world(limits);
  for (int i = 0; i < readers; ++i) {
    world.peer("reader" + std::to_string(i)).connect().subscribe(limited("a/#", 1000));
  }
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < count; ++i) writer.publish("a/" + std::to_string(i), "v");
  world.run_until_idle();
  world.now_ns += 1'000'000'000;
  const Slices slices = slices_of_timers(world);
  EXPECT_LE(slices.most, 2u * 4 * count + 100);
  EXPECT_GE(slices.batches, readers / 2);
}

TEST(Work, OfABacklogThatCollapsesIsThatOfItsEntries) {
  constexpr int count = 1000;
  ProcessorLimits limits;
  limits.credit_bytes = limits.credit_latest_bytes = 1;
  limits.adaptive_backlog_bytes = 64 * count;
  World world(limits);
  world.peer("slow").connect().subscribe("a", 0, Mode::adaptive);
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i <= count; ++i) writer.publish("a", "v");
  const ProcessorStats& stats = world.processor.stats();
  ASSERT_EQ(stats.slow_sessions.value(), 0u);
  const std::string large(static_cast<std::size_t>(limits.adaptive_backlog_bytes), 'v');
  const std::uint64_t work = work_of(world, [&] { writer.publish("a", large); });
  EXPECT_EQ(stats.slow_sessions.value(), 1u);
  EXPECT_GE(work, static_cast<std::uint64_t>(count));
  EXPECT_LE(work, 8u * count);
}

TEST(Slices, EvictTheTopicsThatALowerLimitHasNoRoomFor) {
  World world(few_removals());
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 1000; ++i) writer.publish("a/" + std::to_string(i), "v");
  ProcessorLimits limits = few_removals();
  limits.slots.count_max = 10;
  const Slices slices = slices_of(world, [&] {
    world.apply({nullptr, command::Limits{std::make_unique<ProcessorLimits>(limits)}});
  });
  EXPECT_LE(slices.most, 100u);
  EXPECT_EQ(world.processor.topics().size(), 10u);
}

// --- Turns ---

// Subscribes, in one packet, to so many filters that go through all topics below "a" and match none.
void search_in_vain(Peer& peer, int filters) {
  auto request = std::make_unique<SubscribeRequest>();
  request->packet_id = peer.next_packet_id++;
  for (int i = 0; i < filters; ++i) {
    const std::string filter = "a/+/" + std::to_string(i);
    request->filters.push_back(plain(filter, filter));
  }
  peer.send(command::Subscribe{std::move(request)});
}

int batches_until(World& world, const std::function<bool()>& done) {
  int batches = 0;
  for (; !done() && batches < 10'000; ++batches) {
    world.processor.begin(world.now_ns);
    world.processor.finish();
  }
  return batches;
}

TEST(Turns, OfSnapshotsGoRoundBetweenSessions) {
  ProcessorLimits limits;
  limits.snapshot_topics_per_batch = 64;
  World world(limits);
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 500; ++i) writer.publish("a/" + std::to_string(i), "v", 1, true);
  for (int i = 0; i < 3; ++i) writer.publish("b/" + std::to_string(i), "v", 1, true);
  constexpr int greedy = 30;
  for (int i = 0; i < greedy; ++i) {
    search_in_vain(world.peer("greedy" + std::to_string(i)).connect(), 100);
  }
  Peer& reader = world.peer("reader").connect().subscribe("b/#", 0);
  // Eight turns a batch: the reader's comes after those of all that waited.
  EXPECT_LE(batches_until(world,
                          [&] {
                            reader.take();
                            return reader.got.size() == 3;
                          }),
            greedy / 8 + 1);
  EXPECT_TRUE(world.processor.has_more());
}

TEST(Turns, OfSnapshotsAreNotMissedByWhoLeavesAndComesBack) {
  ProcessorLimits limits;
  limits.snapshot_topics_per_batch = 64;
  World world(limits);
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 500; ++i) writer.publish("a/" + std::to_string(i), "v", 1, true);
  Peer& greedy = world.peer("greedy").connect();
  search_in_vain(greedy, 100);
  Peer& before = world.peer("reader").connect(true, 100).subscribe("a/#", 1);
  before.close();
  greedy.close();
  Peer& after = world.peer("reader").connect(false, 100);
  world.run_until_idle();
  EXPECT_EQ(after.read().got.size(), 500u);
}

// The topics that wait may be read still, so each is asked for by which subscription it came.
TEST(Work, OfAClientThatComesBackWithOtherRightsIsThatOfWhatItsSessionHolds) {
  constexpr int count = 1000;
  World world;
  Peer& before = world.peer("reader", Version::v5);
  before.rights = Users(std::map<std::string, User>{{"ann", {}}}).rights_of("ann");
  before.connect(true, 1000).subscribe("a/#", 1, Mode::every);
  for (int i = 0; i < count; ++i) before.subscribe("b/" + std::to_string(i), 1, Mode::every);
  before.close();
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < count; ++i) writer.publish("a/" + std::to_string(i), "x", 1);
  Peer& after = world.peer("reader", Version::v5);
  const User fewer{{allow("a/+"), deny("a/#")}};
  after.rights = Users(std::map<std::string, User>{{"ann", fewer}}).rights_of("ann");
  const std::uint64_t work = work_of(world, [&] { after.connect(false, 1000); });
  EXPECT_EQ(dropped(world, Drop::revoked), static_cast<std::uint64_t>(count));
  EXPECT_GE(work, 2u * count) << "its subscriptions, and what waits";
  EXPECT_LE(work, 8u * count);
}

TEST(Work, OfReleasingWhatRateLimitsHoldIsCountedAndDoneForThoseAloneThatHoldSomething) {
  constexpr int count = 1000;
  ProcessorLimits limits;
  limits.credit_latest_bytes = 1 << 20;
  World world(limits);
  Peer& reader = world.peer("reader").connect().subscribe(limited("a/#", 60'000));
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < count; ++i) writer.publish("a/" + std::to_string(i), "first");
  ASSERT_EQ(reader.read().got.size(), static_cast<std::size_t>(count));
  const auto subscribe = [&] { reader.subscribe("b"); };
  EXPECT_LT(work_of(world, subscribe), 20u);
  writer.publish("a/1", "held");
  EXPECT_GE(work_of(world, subscribe), count / 4u);
  EXPECT_LT(work_of(world, subscribe), 20u);
}

}  // namespace
}  // namespace millrace::broker
