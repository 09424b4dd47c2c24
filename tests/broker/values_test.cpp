#include "core/broker/values.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/broker/parts.hpp"

namespace millrace::broker {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class Stored : public testing::Test {
 protected:
  explicit Stored(const ProcessorLimits& limits = {}) : parts(limits) {}

  // A publish without subscribers; it is stored at the end of the batch.
  Topic& publish(Message what, Session* from = nullptr) {
    PublishContext context(what, from);
    Topic& topic = parts.values.topic_of(what);
    parts.values.note(topic, context);
    return topic;
  }
  Topic& publish_now(const Message& what, Session* from = nullptr) {
    Topic& topic = publish(what, from);
    parts.next_batch();
    return topic;
  }
  static std::string newest(const Topic& topic) {
    return topic.newest() == nullptr ? "none" : text_of(message_of(topic.newest()));
  }
  static std::string retained(const Topic& topic) {
    return topic.retained ? text_of(message_of(topic.retained)) : "none";
  }
  std::uint64_t refused() { return parts.dropped(Drop::retained_refused); }

  Parts parts;
};

// --- What is noted, and stored ---

TEST_F(Stored, PublishesAreNumberedWithoutGaps) {
  EXPECT_EQ(parts.values.sequence(), 0u);
  std::uint64_t last = 0;
  for (const char* name : {"a", "a", "b", "a"}) {
    EXPECT_EQ(publish(message(name, "v")).sequence, ++last);
  }
  parts.next_batch();
  EXPECT_EQ(publish(message("b", "v")).sequence, ++last);
  EXPECT_EQ(parts.values.sequence(), last);
}

TEST_F(Stored, TopicsAreToldApartByTheirNamesNotByTheirHashes) {
  Message one = message("one", "1");
  Message other = message("other", "2");
  other.topic_hash = one.topic_hash;
  Topic& first = publish(one);
  Topic& second = publish(other);
  EXPECT_NE(&first, &second);
  EXPECT_EQ(&publish(one), &first);
  parts.next_batch();
  EXPECT_EQ(newest(first), "1");
  EXPECT_EQ(newest(second), "2");
}

TEST_F(Stored, EachTopicsNewestValueOnceABatch) {
  Topic& topic = publish_now(message("a", "before"));
  const auto version = topic.newest_slot.version();
  for (const char* payload : {"1", "2", "3"}) publish(message("a", payload));
  EXPECT_EQ(newest(topic), "before") << "readers see what is stored";
  EXPECT_NE(topic.batch_value, 0u);
  parts.next_batch();
  EXPECT_EQ(newest(topic), "3");
  EXPECT_EQ(topic.newest_slot.version(), version + 1);
  EXPECT_EQ(topic.batch_value, 0u);
}

TEST_F(Stored, ValuesPinNoReceiveBuffer) {
  const Message slice = slice_of(message("a", "v", 0, true));
  Topic& topic = publish_now(slice);
  EXPECT_EQ(topic.newest()->capacity(), slice.packet_bytes);
  EXPECT_EQ(topic.retained.get(), topic.newest()) << "one copy for both";
  EXPECT_TRUE(slice.buffer->unique());
}

TEST_F(Stored, ValuesAreTheCopyThatAQueueHasMadeAlready) {
  Message slice = slice_of(message("a", "v"));
  PublishContext context(slice);
  Topic& topic = parts.values.topic_of(slice);
  const BufferRef copy = context.to_keep().buffer;
  parts.values.note(topic, context);
  parts.next_batch();
  EXPECT_EQ(topic.newest(), copy.get());
}

// --- Retained values ---

TEST_F(Stored, TheLastRetainedValueOfABatchStaysWhateverLiveOnesFollow) {
  publish(message("a", "old", 0, true));
  publish(message("a", "kept", 0, true));
  Topic& topic = publish_now(message("a", "live"));
  EXPECT_EQ(retained(topic), "kept");
  EXPECT_EQ(topic.retained_sequence, 2u);
  EXPECT_EQ(newest(topic), "live");
}

TEST_F(Stored, AnEmptyRetainedMessageClears) {
  publish(message("a", "v", 0, true));
  Topic& topic = publish_now(message("a", "", 0, true));
  EXPECT_EQ(retained(topic), "none");
  EXPECT_EQ(newest(topic), "");
  EXPECT_EQ(topic.retained_sequence, 2u);
  publish(message("a", "", 0, true));
  publish_now(message("a", "again", 0, true));
  EXPECT_EQ(retained(topic), "again");
  publish_now(message("a", ""));
  EXPECT_EQ(retained(topic), "again") << "empty, but not retained";
  EXPECT_EQ(parts.values.topics().retained_count(), 1u);
}

struct Few : Stored {
  static ProcessorLimits limits() {
    ProcessorLimits few;
    few.slots.count_max = 2;
    return few;
  }
  Few() : Stored(limits()) {}
};

TEST_F(Few, RetainedValuesOfOneBatchHaveTheirRoomTogether) {
  for (const char* name : {"a", "b", "c"}) publish(message(name, "v", 0, true));
  Topic& a = publish(message("a", "anew", 0, true));
  parts.next_batch();
  EXPECT_EQ(refused(), 1u);
  EXPECT_EQ(parts.values.topics().retained_count(), 2u);
  EXPECT_EQ(retained(a), "anew") << "what is there can be replaced";
  publish_now(message("a", "", 0, true));
  publish_now(message("c", "v", 0, true));
  EXPECT_EQ(refused(), 1u) << "what was cleared makes room";
  EXPECT_EQ(parts.values.topics().retained_count(), 2u);
}

TEST_F(Few, TheLeastRecentlyPublishedTopicsMakeRoom) {
  for (const char* name : {"a", "b", "c", "a", "d"}) publish_now(message(name, "v"));
  EXPECT_EQ(parts.values.topics().size(), 2u);
  EXPECT_EQ(parts.dropped(Drop::slot_evicted), 3u);
  for (const char* name : {"a", "d"}) {
    EXPECT_NE(parts.values.topics().find(topic_hash(name), name), nullptr) << name;
  }
}

TEST_F(Stored, ARetainedValueOfAUserHasRoomWithinWhatHeMayHave) {
  ProcessorLimits limits;
  limits.slots.user_bytes_max = 100;
  parts.values.topics().set_limits(limits.slots);
  const auto session_of = [&](const char* owner) -> Session& {
    boost::intrusive_ptr<Rights> rights(new Rights);
    rights->owner = owner;
    Session& session = parts.client().session;
    session.rights = rights;
    return session;
  };
  Session& ann = session_of("ann");
  const Message first = message("first", std::string(60, 'x'), 1, true, 1);
  const Message second = message("second", std::string(60, 'x'), 1, true, 2);
  EXPECT_EQ(parts.values.retain_refusal(first, "ann"), std::nullopt);
  publish(first, &ann);
  parts.next_batch();
  EXPECT_EQ(parts.values.retain_refusal(second, "ann"), PublishRefusal::user_is_full);
  EXPECT_EQ(parts.values.retain_refusal(second, "bob"), std::nullopt);
  EXPECT_EQ(parts.values.retain_refusal(first, "ann"), std::nullopt) << "in place of its own";
  publish_now(second, &ann);
  EXPECT_EQ(refused(), 1u);
  publish_now(message("first", "", 1, true, 3), &ann);
  EXPECT_EQ(parts.values.retain_refusal(second, "ann"), std::nullopt) << "cleared";
}

TEST_F(Stored, RetainedValuesOfAUserAreAsManyAsHeMayHave) {
  ProcessorLimits limits;
  limits.slots.user_count_max = 2;
  parts.values.topics().set_limits(limits.slots);
  Session& ann = parts.client().session;
  boost::intrusive_ptr<Rights> rights(new Rights);
  rights->owner = "ann";
  ann.rights = rights;
  publish(message("a", "1", 1, true, 1), &ann);
  publish(message("b", "1", 1, true, 2), &ann);
  EXPECT_EQ(parts.values.retain_refusal(message("b", "1", 1, true, 3), "ann"), std::nullopt)
      << "in place of its own of the same batch";
  publish(message("c", "1", 1, true, 3), &ann);
  parts.next_batch();
  EXPECT_EQ(refused(), 1u) << "also within a batch";
  const Message next = message("c", "1", 1, true, 4);
  EXPECT_EQ(parts.values.retain_refusal(next, "ann"), PublishRefusal::user_is_full);
  EXPECT_EQ(parts.values.retain_refusal(next, ""), std::nullopt);
  EXPECT_EQ(parts.values.retain_refusal(message("a", "longer", 1, true, 5), "ann"), std::nullopt)
      << "its own";
  publish_now(message("a", "", 1, true, 6), &ann);
  EXPECT_EQ(parts.values.retain_refusal(next, "ann"), std::nullopt) << "cleared";
}

TEST_F(Stored, WhatDoesNotGrowIsRetainedThoughMemoryIsScarce) {
  publish_now(message("a", "12345", 1, true, 1));
  parts.batch.ledger().set_limit(1);
  parts.batch.ledger().set_other(1);
  parts.batch.ledger().update();
  const auto refusal = [&](const char* topic, const std::string& payload) {
    return parts.values.retain_refusal(message(topic, payload, 1, true, 1), "");
  };
  EXPECT_EQ(refusal("a", "54321"), std::nullopt);
  EXPECT_EQ(refusal("a", ""), std::nullopt);
  EXPECT_EQ(refusal("a", std::string(500, 'x')), PublishRefusal::memory_is_scarce);
  EXPECT_EQ(refusal("b", "1"), PublishRefusal::memory_is_scarce);
  EXPECT_EQ(parts.batch.stats().memory_refusals.value(), 2u);
}

TEST_F(Few, ARestartRestoresWhatThereIsRoomFor) {
  for (const char* name : {"a", "b"}) {
    EXPECT_TRUE(parts.values.restore(message(name, "v", 0, true).buffer, "ann"));
  }
  EXPECT_FALSE(parts.values.restore(message("c", "v", 0, true).buffer, std::nullopt));
  EXPECT_EQ(refused(), 1u);
  const Topic& a = *parts.values.topics().find(topic_hash("a"), "a");
  EXPECT_EQ(retained(a), "v");
  EXPECT_EQ(newest(a), "v");
  EXPECT_EQ(parts.values.topics().retained_user(a), "ann");
  EXPECT_GT(publish(message("a", "later")).sequence, a.retained_sequence);
}

// --- Snapshots ---

class StoredSnapshot : public Stored {
 protected:
  explicit StoredSnapshot(const ProcessorLimits& limits = {})
      : Stored(limits), client(parts.client()) {}

  SnapshotCursor begin(const SubscriptionRequest& wanted) {
    auto cursor = parts.values.begin_snapshot(parts.subscribe(client, wanted), wanted, true);
    if (!cursor) throw std::logic_error("it is to have no snapshot");
    return std::move(*cursor);
  }
  // What is left of it.
  std::vector<std::string> payloads(SnapshotCursor& cursor) {
    std::vector<std::string> all;
    Values::StoredValue value;
    while (parts.values.begin_turn()) {
      Values::Step step{};
      while ((step = parts.values.next(cursor, value)) == Values::Step::value) {
        all.push_back(text_of(value.message));
      }
      if (step == Values::Step::end) return all;
      parts.next_batch();
    }
    ADD_FAILURE() << "a batch without a budget";
    return all;
  }
  std::vector<std::string> payloads(const SubscriptionRequest& wanted) {
    SnapshotCursor cursor = begin(wanted);
    return payloads(cursor);
  }

  Client& client;
};

TEST_F(StoredSnapshot, OfAnOrdinarySubscriptionIsItsRetainedValuesInTheOrderOfTheirNames) {
  for (const char* name : {"t/c", "t/a", "u", "t/b"}) publish(message(name, name, 0, true));
  publish(message("t/b", "live"));
  publish_now(message("t/d", "live"));
  EXPECT_THAT(payloads(to("t/#")), ElementsAre("t/a", "t/b", "t/c"));
}

TEST_F(StoredSnapshot, OfLatestIsTheNewestValueOfEachTopic) {
  publish(message("a", "retained", 0, true));
  publish(message("a", "newer"));
  publish(message("b", "retained", 0, true));
  publish(message("c", "live"));
  publish_now(message("d", ""));
  SnapshotCursor cursor = begin(to("#", 0, Mode::latest));
  std::vector<std::pair<std::string, bool>> got;
  Values::StoredValue value;
  ASSERT_TRUE(parts.values.begin_turn());
  while (parts.values.next(cursor, value) == Values::Step::value) {
    got.emplace_back(text_of(value.message), value.retained);
  }
  EXPECT_THAT(got, ElementsAre(std::pair("newer", false), std::pair("retained", true),
                               std::pair("live", false)));
}

// [MQTT-3.3.1-10], [MQTT-3.3.1-11], [MQTT-4.8.2-4]
TEST_F(StoredSnapshot, IsForWhoIsToHaveOne) {
  const auto begins = [&](const SubscriptionRequest& wanted, bool is_new) {
    return parts.values.begin_snapshot(parts.subscribe(client, wanted), wanted, is_new).has_value();
  };
  SubscriptionRequest wanted = to("a");
  for (const std::uint8_t handling : {0, 1, 2}) {
    wanted.retain_handling = handling;
    EXPECT_EQ(begins(wanted, true), handling != 2);
    EXPECT_EQ(begins(wanted, false), handling == 0);
  }
  wanted.mode = Mode::latest;
  EXPECT_TRUE(begins(wanted, false)) << "`latest` begins with the newest value all the same";
  EXPECT_FALSE(begins(shared("g", "a", 0), true));
}

TEST_F(StoredSnapshot, HasEachRetainedValueOnceThoughPublishesGoOn) {
  for (const char* name : {"a", "b", "c"}) publish(message(name, "old", 0, true));
  parts.next_batch();
  SnapshotCursor ordinary = begin(to("+"));
  SnapshotCursor latest = begin(to("#", 0, Mode::latest));
  publish(message("a", "anew", 0, true));  // reaches both by itself
  publish_now(message("b", "live"));       // stands for the retained one of `latest` alone
  EXPECT_THAT(payloads(ordinary), ElementsAre("old", "old"));
  EXPECT_THAT(payloads(latest), ElementsAre("old"));
}

TEST_F(StoredSnapshot, HasAtQoS0WhatCameWhileItsClientWasAway) {
  publish_now(message("a", "before", 0, true));
  for (const int qos : {0, 1}) {
    SnapshotCursor cursor = begin(to("+", qos));
    publish_now(message("b", "away", 1, true, 1));
    cursor.since_at_qos0 = parts.values.sequence();
    EXPECT_EQ(payloads(cursor).size(), qos == 0 ? 2u : 1u) << "at QoS 1 it waited in the queue";
    publish_now(message("b", "", 0, true));
  }
}

TEST_F(StoredSnapshot, LeavesOutWhatMayNotBeRead) {
  for (const char* name : {"open", "secret"}) publish(message(name, name, 0, true));
  parts.next_batch();
  SubscriptionRequest wanted = to("+");
  wanted.rules =
      std::make_shared<const TopicRules>(std::vector<TopicRule>{{false, "secret"}}, true);
  EXPECT_THAT(payloads(wanted), ElementsAre("open"));
}

TEST_F(StoredSnapshot, TellsWhoHadEverythingWhatIsNewerAndWhatWasCleared) {
  for (const char* name : {"a", "b", "c"}) publish(message(name, "old", 0, true));
  parts.next_batch();
  SubscriptionRequest wanted = to("#", 0, Mode::latest);
  wanted.newer_than = parts.values.sequence();
  publish(message("b", "", 0, true));
  publish_now(message("c", "new"));
  EXPECT_THAT(payloads(wanted), ElementsAre("", "new"));
  wanted.newer_than = 0;
  EXPECT_THAT(payloads(wanted), ElementsAre("old", "new")) << "who had nothing lost nothing";
}

TEST_F(StoredSnapshot, GoesNotBackToTheLinkThatItCameFrom) {
  for (const std::uint16_t origin : {1, 2}) {
    const std::string name = "from " + std::to_string(origin);
    const Message made = message(name, name, 0, true);
    made.buffer->origin = origin;
    publish(made);
  }
  parts.next_batch();
  client.session.origin = 2;
  EXPECT_THAT(payloads(to("#")), ElementsAre("from 1"));
  client.session.origin = 0;
  EXPECT_THAT(payloads(to("#")), ElementsAre("from 1", "from 2"));
}

struct SnapshotBudget : StoredSnapshot {
  static ProcessorLimits limits() {
    ProcessorLimits few;
    few.snapshot_topics_per_batch = 16;
    return few;
  }
  SnapshotBudget() : StoredSnapshot(limits()) {}
};

TEST_F(SnapshotBudget, IsSharedByTheTurnsOfABatchAlsoWhereNothingIsToBeSent) {
  for (int i = 0; i < 100; ++i) publish(message("t/" + std::to_string(i), "not retained"));
  publish_now(message("t/z", "found", 0, true));
  SnapshotCursor cursor = begin(to("t/+"));
  Values::StoredValue value;
  const std::uint64_t work = parts.batch.stats().work_units.value();
  int turns = 0;
  for (; parts.values.begin_turn(); ++turns) {
    ASSERT_LE(turns, 16);
    ASSERT_EQ(parts.values.next(cursor, value), Values::Step::out_of_budget);
  }
  EXPECT_EQ(parts.batch.stats().work_units.value() - work, 16u) << "topics that were looked at";
  EXPECT_EQ(turns, 8);
  EXPECT_EQ(parts.values.next(cursor, value), Values::Step::out_of_budget);
  parts.next_batch();
  std::vector<std::string> got;
  for (int batches = 0; batches < 20 && got.empty(); ++batches, parts.next_batch()) {
    while (parts.values.begin_turn()) {
      while (parts.values.next(cursor, value) == Values::Step::value) {
        got.push_back(text_of(value.message));
      }
    }
  }
  EXPECT_THAT(got, ElementsAre("found"));
}

}  // namespace
}  // namespace millrace::broker
