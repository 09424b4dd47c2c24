#include "core/broker/backlog.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/broker/parts.hpp"

namespace millrace::broker {
namespace {

using protocol::ReasonCode;
using testing::ElementsAre;
using testing::IsEmpty;
using Lane = PendingQueue::Lane;

class Waiting : public testing::Test {
 protected:
  explicit Waiting(const ProcessorLimits& limits = {}) : parts(limits), client(parts.client()) {}

  // Whose queue withholds the acknowledgement; null: nobody's.
  Session* add(Mode mode, PendingEntry entry, Session* from = nullptr) {
    return add_to(client, mode, std::move(entry), from);
  }
  Session* add_to(Client& to, Mode mode, PendingEntry entry, Session* from = nullptr) {
    Message message = entry.delivery.message;
    PublishContext context(message, from);
    context.can_withhold = from != nullptr;
    entry.since_ns = parts.now_ns;
    parts.backlog.add(to.session, mode, std::move(entry), context);
    return context.withholder;
  }
  static PendingEntry value(std::string_view payload, int qos = 0, std::string_view topic = "a") {
    return waiting(message(topic, payload), qos);
  }
  // A value of a subscription with that rate limit, of which one was sent just now.
  PendingEntry limited_value(std::string_view payload, int qos = 0) {
    return waiting(message("a", payload), qos, 1, 100);
  }
  void note_sent() {
    client.session.deferred.write().rate_limits.note_sent(key_of(limited_value("")),
                                                          parts.now_ns + 100'000'000, UINT64_MAX);
  }
  // In the order in which the deliverer takes it.
  std::vector<std::string> payloads() {
    std::vector<std::string> all;
    PendingQueue& pending = client.session.pending;
    while (!pending.empty()) {
      for (const Lane lane : {Lane::every, Lane::newest}) {
        if (pending.front(lane) == nullptr) continue;
        all.push_back(text_of(pending.pop(lane).delivery.message));
      }
    }
    parts.backlog.update_gauges(client.session);
    return all;
  }
  void pass_without_credit(std::int64_t ns) {
    client.outbox->outstanding_bytes = 1 << 20;
    parts.next_batch(ns);
    parts.backlog.on_timer(client.session);
  }
  void lose_connection() {
    client.lose_connection();
    parts.backlog.part(client.session);
  }
  const ProcessorStats& stats() { return parts.batch.stats(); }
  PendingQueue& pending() { return client.session.pending; }

  Parts parts;
  Client& client;
};

// --- `every`: the limits of a queue, and its policies ---

struct Queue : Waiting {
  static ProcessorLimits limits() {
    ProcessorLimits few;
    few.queue_messages = 2;
    return few;
  }
  Queue() : Waiting(limits()) {}

  void set_policy(Overflow policy) {
    ProcessorLimits few = limits();
    few.overflow = policy;
    parts.batch.set_limits(few);
  }
  void add_three() {
    for (const char* payload : {"1", "2", "3"}) add(Mode::every, value(payload, 1));
  }
};

TEST_F(Queue, DropsTheOldest) {
  add_three();
  EXPECT_THAT(payloads(), ElementsAre("2", "3"));
  EXPECT_EQ(parts.dropped(Drop::queue_oldest), 1u);
}

TEST_F(Queue, DropsTheNewest) {
  set_policy(Overflow::drop_newest);
  add_three();
  EXPECT_THAT(payloads(), ElementsAre("1", "2"));
  EXPECT_EQ(parts.dropped(Drop::queue_newest), 1u);
}

TEST_F(Queue, EndsTheConnectionAndGoesOnForWhoComesBack) {
  set_policy(Overflow::disconnect);
  add_three();
  EXPECT_THAT(parts.disconnected,
              ElementsAre(std::pair(&client.session, ReasonCode::quota_exceeded)));
  EXPECT_EQ(parts.dropped(Drop::queue_disconnect), 1u);
  EXPECT_THAT(payloads(), ElementsAre("2", "3")) << "it waits for the session, which goes on";
  EXPECT_EQ(parts.dropped(Drop::queue_oldest), 1u);
  add_three();
  EXPECT_EQ(parts.disconnected.size(), 1u) << "there is nothing left to end";
}

TEST_F(Queue, WithholdsTheAcknowledgementAndKeepsTheMessage) {
  set_policy(Overflow::backpressure);
  Session& publisher = parts.client().session;
  EXPECT_EQ(add(Mode::every, value("1", 1), &publisher), nullptr);
  EXPECT_EQ(add(Mode::every, value("2", 1), &publisher), nullptr);
  EXPECT_EQ(add(Mode::every, value("3", 1), &publisher), &client.session);
  EXPECT_EQ(add(Mode::every, value("4", 1)), nullptr) << "nobody waits for an acknowledgement";
  EXPECT_THAT(payloads(), ElementsAre("3", "4"));
  EXPECT_EQ(parts.dropped(Drop::queue_oldest), 2u);
}

TEST_F(Queue, HasALimitOfBytesToo) {
  ProcessorLimits few;
  few.queue_bytes = 2 * value("1", 1).bytes();
  parts.batch.set_limits(few);
  add_three();
  EXPECT_THAT(payloads(), ElementsAre("2", "3"));
  add(Mode::every, value(std::string(1000, 'x'), 1));
  EXPECT_EQ(pending().size(), 1u) << "one that is larger than the queue is alone in it";
}

TEST_F(Queue, OfALinkHasItsOwnLimitsAndShowsWhatWaits) {
  const auto figures = std::make_shared<SpoolFigures>();
  client.session.origin = 1;
  parts.backlog.make_spool(client.session, QueueLimits{1, 1000, Overflow::drop_newest}, figures);
  add_three();
  EXPECT_EQ(figures->messages.value(), 1u);
  EXPECT_EQ(figures->bytes.value(), pending().bytes());
  EXPECT_EQ(figures->dropped[static_cast<std::size_t>(Drop::queue_newest)].value(), 2u);
  Client& other = parts.client();
  for (int i = 0; i < 2; ++i) add_to(other, Mode::every, value("x", 1));
  EXPECT_EQ(other.session.pending.size(), 2u) << "its limits are its own";
  EXPECT_THAT(payloads(), ElementsAre("1"));
  EXPECT_EQ(figures->messages.value(), 0u);
  client.lose_connection();
  client.session.ended = true;
  parts.backlog.clear(client.session, {});
  EXPECT_EQ(parts.backlog.limits_of(client.session).messages, 2u);
}

// --- Values ---

TEST_F(Waiting, RequestsAreNeitherReplacedNorReplace) {
  const auto request_entry = [&](std::string_view payload) {
    Command command = request("a", payload, parts.now_ns);
    return waiting(command.get_if<command::Publish>()->message);
  };
  add(Mode::latest, value("1"));
  add(Mode::latest, request_entry("request"));
  add(Mode::latest, value("2"));
  add(Mode::latest, value("3"));
  EXPECT_THAT(payloads(), ElementsAre("1", "request", "3"));
  EXPECT_EQ(stats().conflated.value(), 1u);
}

struct Backlogged : Waiting {
  static ProcessorLimits limits() {
    ProcessorLimits few;
    few.adaptive_backlog_bytes = 50;
    return few;
  }
  Backlogged() : Waiting(limits()) {}
};

TEST_F(Backlogged, CollapsesWhenTooMuchWaitsAndIsSlowUntilItHasCaughtUp) {
  for (int i = 0; i < 10; ++i) add(Mode::adaptive, value(std::to_string(i)));
  EXPECT_TRUE(pending().collapsed());
  EXPECT_EQ(stats().slow_sessions.value(), 1u);
  EXPECT_EQ(client.outbox->binding(), Outbox::Binding::latest);
  parts.backlog.unfold_if_caught_up(client.session);
  EXPECT_TRUE(pending().collapsed()) << "something waits";
  EXPECT_THAT(payloads(), ElementsAre("9"));
  EXPECT_EQ(stats().conflated.value(), 9u);
  parts.next_batch(2'000'000'000);
  parts.backlog.unfold_if_caught_up(client.session);
  EXPECT_FALSE(pending().collapsed());
  EXPECT_EQ(stats().slow_sessions.value(), 0u);
}

TEST_F(Backlogged, CollapsesWhenTheOldestIsStale) {
  for (const char* payload : {"1", "2"}) add(Mode::adaptive, value(payload));
  parts.next_batch(999'999'999);
  parts.backlog.on_timer(client.session);
  EXPECT_FALSE(pending().collapsed());
  parts.next_batch(1);
  parts.backlog.on_timer(client.session);
  EXPECT_TRUE(pending().collapsed());
  EXPECT_THAT(payloads(), ElementsAre("2"));
}

TEST_F(Waiting, IsSlowWithoutCreditOnceWhatMayBeReplacedHasWaitedForLong) {
  add(Mode::latest, value("1"));
  client.outbox->outstanding_bytes = 1 << 20;
  parts.next_batch(999'999'999);
  add(Mode::latest, value("2"));
  EXPECT_EQ(stats().slow_sessions.value(), 0u);
  parts.next_batch(1);
  parts.backlog.on_timer(client.session);
  EXPECT_EQ(stats().slow_sessions.value(), 1u) << "the newer value has the place of the older one";
  EXPECT_EQ(client.outbox->binding(), Outbox::Binding::early) << "nothing has collapsed";
  client.outbox->outstanding_bytes = 0;
  parts.backlog.update_gauges(client.session);
  EXPECT_EQ(stats().slow_sessions.value(), 0u) << "it has credit";
  client.outbox->outstanding_bytes = 1 << 20;
  parts.backlog.update_gauges(client.session);
  EXPECT_EQ(stats().slow_sessions.value(), 1u);
  EXPECT_THAT(payloads(), ElementsAre("2"));
  EXPECT_EQ(stats().slow_sessions.value(), 0u) << "nothing waits";
}

TEST_F(Waiting, IsNotSlowForMessagesThatAreNeverReplaced) {
  add(Mode::every, value("1", 1));
  pass_without_credit(5'000'000'000);
  EXPECT_EQ(stats().slow_sessions.value(), 0u);
}

TEST_F(Waiting, IsSlowNoMoreOnceItsConnectionIsGone) {
  add(Mode::latest, value("1", 1));
  pass_without_credit(1'000'000'000);
  ASSERT_EQ(stats().slow_sessions.value(), 1u);
  lose_connection();
  EXPECT_EQ(stats().slow_sessions.value(), 0u);
}

// It counts already, for what waits in order and is never replaced.
TEST_F(Backlogged, IsBoundLateWhenItCollapsesWhileItIsSlow) {
  Command command = request("a", "request", parts.now_ns);
  add(Mode::adaptive, waiting(command.get_if<command::Publish>()->message));
  pass_without_credit(1'000'000'000);
  ASSERT_EQ(stats().slow_sessions.value(), 1u);
  EXPECT_EQ(client.outbox->binding(), Outbox::Binding::early);
  for (int i = 0; i < 10; ++i) add(Mode::adaptive, value(std::to_string(i)));
  ASSERT_TRUE(pending().collapsed());
  EXPECT_EQ(client.outbox->binding(), Outbox::Binding::latest);
  EXPECT_EQ(stats().slow_sessions.value(), 1u);
}

TEST_F(Waiting, ValuesBeforeASubscribeAreNotReplacedAfterIt) {
  add(Mode::latest, value("before"));
  parts.backlog.seal(client.session);
  add(Mode::latest, value("1"));
  add(Mode::latest, value("after"));
  EXPECT_THAT(payloads(), ElementsAre("before", "after"));
}

// --- Rate limits ---

TEST_F(Waiting, AValueWithinItsIntervalIsHeldBackUntilTheIntervalIsOver) {
  note_sent();
  add(Mode::latest, limited_value("1"));
  add(Mode::latest, limited_value("2"));
  EXPECT_TRUE(pending().empty());
  EXPECT_EQ(stats().conflated.value(), 1u);
  parts.next_batch(99'999'999);
  parts.backlog.on_timer(client.session);
  EXPECT_TRUE(pending().empty());
  parts.next_batch(1);
  parts.backlog.on_timer(client.session);
  EXPECT_THAT(payloads(), ElementsAre("2"));
}

TEST_F(Waiting, AValueThatWaitsForCreditIsReplacedWhateverTheLimitSays) {
  add(Mode::latest, limited_value("1"));
  note_sent();
  add(Mode::latest, limited_value("2"));
  EXPECT_THAT(payloads(), ElementsAre("2"));
}

TEST_F(Waiting, WhatALimitHoldsBackIsNotedAsHeld) {
  note_sent();
  parts.backlog.update_gauges(client.session);
  ASSERT_EQ(parts.batch.largest().largest(), nullptr) << "it is little";
  add(Mode::latest, limited_value(std::string(10'000, 'x')));
  ASSERT_TRUE(client.session.pending.empty());
  EXPECT_EQ(parts.batch.largest().largest(), &client.session);
}

TEST_F(Waiting, WhatIsKeptForChangeFiltersIsNotedAsHeld) {
  ShapeFields fields;
  fields.changes = Changes::unequal;
  const ShapeRef shape = make_shape(fields);
  for (std::uint64_t topic = 0; topic < 100; ++topic) {
    parts.backlog.note_sent(client.session, {1, topic}, *shape, {});
  }
  parts.backlog.update_gauges(client.session);
  EXPECT_EQ(parts.batch.largest().largest(), &client.session);
}

TEST_F(Waiting, HeldValuesStayBeforeARequestAndBeforeASubscribe) {
  for (const bool subscribes : {false, true}) {
    note_sent();
    add(Mode::latest, limited_value("held"));
    subscribes ? parts.backlog.seal(client.session) : parts.backlog.before_request(client.session);
    EXPECT_THAT(payloads(), ElementsAre("held"));
    client.session.deferred.write().rate_limits.clear();
  }
}

TEST_F(Waiting, HeldValuesGoWithTheOnlySubscriptionAndStayWithOthers) {
  for (const bool has_other : {false, true}) {
    Client& reader = parts.client();
    if (has_other) parts.subscribe(reader, to("#"));
    Subscription& subscription = parts.subscribe(reader, limited("a"));
    PendingEntry entry = waiting(message("a", "held"), 0, subscription.number, 100);
    reader.session.deferred.write().rate_limits.note_sent(key_of(entry), parts.now_ns + 1, 10);
    add_to(reader, Mode::latest, entry);
    const Subscription* const ended[] = {parts.router.unsubscribe(reader.session, "a")};
    parts.backlog.unsubscribed(reader.session, ended);
    EXPECT_EQ(reader.session.pending.size(), has_other ? 1u : 0u);
    EXPECT_TRUE(reader.session.deferred.read().rate_limits.empty());
  }
}

// --- The life of a session ---

TEST_F(Waiting, AtQoS0EndsWithTheConnection) {
  add(Mode::every, value("every 0", 0));
  add(Mode::every, value("every 1", 1));
  add(Mode::latest, value("cell 0", 0, "b"));
  add(Mode::latest, value("cell 2", 2, "c"));
  note_sent();
  add(Mode::latest, limited_value("held 1", 1));
  lose_connection();
  EXPECT_EQ(parts.dropped(Drop::disconnected), 2u);
  EXPECT_TRUE(client.session.deferred.read().rate_limits.empty());
  EXPECT_THAT(payloads(), testing::UnorderedElementsAre("every 1", "cell 2", "held 1"));
}

TEST_F(Waiting, NothingIsLeftOfASessionThatEnds) {
  for (int i = 0; i < 3; ++i) add(Mode::every, value("x", i));
  add(Mode::latest, value("x", 1));
  client.session.expiry_s = 0;
  lose_connection();
  client.session.ended = true;
  parts.backlog.clear(client.session, {});
  EXPECT_EQ(stats().pending.value(), 0u);
  EXPECT_EQ(stats().pending_bytes.value(), 0u);
  EXPECT_EQ(parts.dropped(Drop::session_ended), 3u);
  EXPECT_EQ(parts.dropped(Drop::disconnected), 1u);
}

TEST_F(Waiting, WhatIsDiscardedIsFreedInSlicesAndChargedUntilThen) {
  ProcessorLimits few;
  few.removals_per_batch = 10;
  parts.batch.set_limits(few);
  for (int i = 0; i < 100; ++i) add(Mode::every, value("x"));
  lose_connection();
  EXPECT_TRUE(pending().empty());
  EXPECT_EQ(parts.backlog.entry_bytes(), 100 * PendingQueue::entry_bytes);
  int batches = 0;
  for (; parts.backlog.has_discarded(); ++batches) {
    const std::uint64_t before = parts.backlog.entry_bytes();
    parts.next_batch();
    const std::uint64_t freed = (before - parts.backlog.entry_bytes()) / PendingQueue::entry_bytes;
    ASSERT_GE(freed, 1u);
    ASSERT_LE(freed, 11u);
    ASSERT_EQ(parts.has_more, parts.backlog.has_discarded()) << "no command has to come for it";
  }
  EXPECT_GE(batches, 9);
  EXPECT_EQ(parts.backlog.entry_bytes(), 0u);
}

// --- Memory ---

TEST_F(Waiting, TheOldestGoWhenMemoryIsTakenBack) {
  for (int i = 0; i < 10; ++i) add(Mode::every, value(std::to_string(i), 1));
  EXPECT_EQ(parts.backlog.shed(client.session, 0, 3), 3u);
  EXPECT_EQ(pending().size(), 7u);
  const std::uint64_t held = client.session.held_bytes();
  EXPECT_EQ(parts.backlog.shed(client.session, held, 100), 0u) << "it holds no more than that";
  EXPECT_EQ(parts.backlog.shed(client.session, 0, 100), 7u);
  EXPECT_EQ(parts.dropped(Drop::memory), 10u);
  EXPECT_EQ(stats().pending.value(), 0u);
}

TEST_F(Waiting, NothingGrowsWhenMemoryIsUsedUp) {
  for (int i = 0; i < 5; ++i) add(Mode::every, value(std::to_string(i), 1));
  parts.batch.ledger().set_limit(1);
  parts.batch.ledger().set_other(1);
  parts.batch.ledger().update();
  ASSERT_EQ(parts.batch.ledger().level(), MemoryLevel::exhausted);
  for (int i = 5; i < 8; ++i) add(Mode::every, value(std::to_string(i), 1));
  EXPECT_EQ(pending().size(), 5u);
  lose_connection();
  add(Mode::every, value("8", 1));
  EXPECT_EQ(parts.dropped(Drop::memory), 4u);
  EXPECT_THAT(payloads(), ElementsAre("3", "4", "5", "6", "7"));
}

TEST_F(Waiting, ALargeOneMakesRoomByMoreThanOneWhenMemoryIsUsedUp) {
  for (int i = 0; i < 9; ++i) add(Mode::every, value(std::to_string(i), 1));
  parts.batch.ledger().set_limit(1);
  parts.batch.ledger().set_other(1);
  parts.batch.ledger().update();
  const std::uint64_t before = pending().memory_bytes();
  add(Mode::every, value(std::string(500, 'x'), 1));
  EXPECT_LE(pending().memory_bytes(), before);
  EXPECT_GT(pending().size(), 1u);
  EXPECT_EQ(parts.dropped(Drop::memory), 10 - pending().size());
}

// --- What always holds ---

// Whatever comes in whatever order, under each policy: queues are within their limits, and the
// gauges say what waits.
TEST(Backlog, IsWithinItsLimitsAndItsGaugesAgree) {
  for (const auto policy : {Overflow::drop_oldest, Overflow::drop_newest, Overflow::disconnect}) {
    ProcessorLimits limits;
    limits.queue_messages = 5;
    limits.queue_bytes = 100;
    limits.overflow = policy;
    limits.adaptive_backlog_bytes = 60;
    limits.slots.count_max = 4;
    limits.slots.bytes_max = 90;
    Parts parts(limits);
    for (int i = 0; i < 4; ++i) parts.client();
    std::minstd_rand random(2);
    for (int round = 0; round < 20'000; ++round) {
      Client& client = *parts.clients[random() % parts.clients.size()];
      Session& session = client.session;
      switch (random() % 9) {
        case 0:
          parts.backlog.seal(session);
          break;
        case 1:
          if (session.connected()) {
            client.lose_connection();
            parts.backlog.part(session);
          } else {
            client.connect();
            parts.backlog.update_gauges(session);
          }
          break;
        case 2:
          parts.next_batch(50'000'000);
          for (const auto& one : parts.clients) parts.backlog.on_timer(one->session);
          break;
        case 3:
          for (const Lane lane : {Lane::every, Lane::newest}) {
            if (session.connected() && session.pending.front(lane) != nullptr) {
              const PendingEntry sent = session.pending.pop(lane);
              if (sent.interval_ms() != 0) {
                session.deferred.write().rate_limits.note_sent(key_of(sent),
                                                               parts.now_ns + 100'000'000, 4);
              }
            }
          }
          parts.backlog.update_gauges(session);
          break;
        case 4:
          client.outbox->outstanding_bytes = random() % 2 == 0 ? 0u : 1u << 20;
          parts.backlog.update_gauges(session);
          break;
        default: {
          const std::string topic = "t" + std::to_string(random() % 6);
          const int qos = session.connected() ? static_cast<int>(random() % 3) : 1;
          Message what = message(topic, std::string(random() % 20, 'x'));
          what.request = random() % 10 == 0;
          const auto mode = static_cast<Mode>(random() % 3);
          const std::uint32_t interval_ms = mode == Mode::latest && random() % 2 == 0 ? 100 : 0;
          PendingEntry entry = waiting(what, qos, 1, interval_ms);
          entry.since_ns = parts.now_ns;
          PublishContext context(what);
          parts.backlog.add(session, mode, std::move(entry), context);
        }
      }
      std::uint64_t messages = 0;
      std::uint64_t bytes = 0;
      std::uint64_t slow = 0;
      for (const auto& one : parts.clients) {
        const PendingQueue& pending = one->session.pending;
        messages += pending.size();
        bytes += pending.bytes();
        const auto since_ns = pending.newest_since_ns();
        const bool waits_for_long = since_ns && parts.now_ns - *since_ns >= limits.stale_ns() &&
                                    one->outbox->outstanding_bytes > 0;  // far more than any credit
        slow += one->session.connected() && (pending.collapsed() || waits_for_long) ? 1 : 0;
        ASSERT_LE(pending.every_size(), limits.queue_messages);
        ASSERT_LE(pending.every_bytes(), limits.queue_bytes);
        ASSERT_LE(pending.newest_size(), limits.slots.count_max);
        ASSERT_LE(pending.newest_bytes(), limits.slots.bytes_max);
        ASSERT_TRUE(one->session.connected() || pending.lasting_size() == pending.size());
      }
      ASSERT_EQ(parts.batch.stats().pending.value(), messages) << "round " << round;
      ASSERT_EQ(parts.batch.stats().pending_bytes.value(), bytes);
      ASSERT_EQ(parts.batch.stats().slow_sessions.value(), slow);
    }
  }
}

}  // namespace
}  // namespace millrace::broker
