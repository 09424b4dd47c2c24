// Publishes of users without a session (HTTP, shared memory): whose their retained values are, and what
// they are told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/broker/topic_hash.hpp"
#include "tests/broker/users.hpp"
#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

using protocol::Version;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

using Told = std::vector<std::optional<PublishRefusal>>;
constexpr std::optional<PublishRefusal> taken;

class PublishFor : public ::testing::Test {
 protected:
  explicit PublishFor(const ProcessorLimits& limits = {}) : world(limits) {}

  Command command_of(const std::string& user, Message message) {
    auto request = std::make_unique<PublishRequest>();
    request->charged_bytes = message.packet_bytes;
    request->message = std::move(message);
    request->rights = users.rights_of(user);
    return {nullptr, command::PublishFor{std::move(request)}};
  }
  // As over HTTP: whoever asks is told.
  void ask(const std::string& user, Message message) {
    Command command = command_of(user, std::move(message));
    command.get_if<command::PublishFor>()->request->done =
        [this](std::optional<PublishRefusal> why) { told.push_back(why); };
    world.apply(std::move(command));
  }
  void put(const std::string& user, const char* topic, const char* payload = "1") {
    ask(user, message(topic, payload, 0, true));
  }
  // As in shared memory: there is nobody to tell.
  void put_untold(const std::string& user, const char* topic) {
    world.apply(command_of(user, message(topic, "1", 0, true)));
  }
  // The payload; empty: nothing is retained.
  std::string retained(std::string_view topic) const {
    const Topic* const found = world.processor.topics().find(topic_hash(topic), topic);
    if (found == nullptr || !found->retained) return "";
    return text_of(message_of(found->retained));
  }
  const ProcessorStats& stats() const { return world.processor.stats(); }
  std::uint64_t refused() const { return dropped(world, Drop::retained_refused); }

  World world;
  Users users{{{"", {}}, {"ann", {}}, {"bob", {}}}};
  Told told;
};

ProcessorLimits two_values(std::uint64_t TopicLimits::*limit) {
  ProcessorLimits limits;
  limits.slots.*limit = 2;
  return limits;
}

class OfUsers : public PublishFor {
 protected:
  OfUsers() : PublishFor(two_values(&TopicLimits::user_count_max)) {}
};

TEST_F(OfUsers, ARetainedValueIsChargedToItsUser) {
  for (const char* topic : {"a", "b", "c"}) put("ann", topic);
  EXPECT_THAT(told, ElementsAre(taken, taken, PublishRefusal::user_is_full));
  put("bob", "c", "of bob");
  put("ann", "a", "anew");
  EXPECT_THAT(std::exchange(told, {}),
              ElementsAre(taken, taken, PublishRefusal::user_is_full, taken, taken));
  EXPECT_EQ(retained("c"), "of bob");
  EXPECT_EQ(retained("a"), "anew");
  put("ann", "a", "");
  put("ann", "d");
  EXPECT_THAT(told, ElementsAre(taken, taken)) << "what was cleared makes room";
  EXPECT_EQ(refused(), 1u);
}

TEST_F(OfUsers, ItCountsBesideWhatTheUserPublishesByMqtt) {
  Peer& ann = world.peer("ann's", Version::v5);
  ann.rights = users.rights_of("ann");
  ann.connect().publish("a", "1", 1, true);
  put("ann", "b");
  put("ann", "c");
  ann.publish("d", "1", 1, true).take();
  EXPECT_THAT(told, ElementsAre(taken, PublishRefusal::user_is_full));
  ASSERT_EQ(ann.control.size(), 2u);
  EXPECT_EQ(std::get<protocol::Puback>(ann.control[1]).reason,
            protocol::ReasonCode::quota_exceeded);
}

TEST_F(OfUsers, NothingHappensOfWhatIsRefused) {
  Peer& reader = world.peer("reader").connect().subscribe("#");
  for (const char* topic : {"a", "b", "c"}) put("ann", topic, topic);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("a", "b"));
  EXPECT_EQ(world.processor.topics().find(topic_hash("c"), "c"), nullptr);
}

TEST_F(OfUsers, WhatIsNotRetainedIsNotCharged) {
  for (const char* topic : {"a", "b", "c"}) ask("ann", message(topic, "1"));
  EXPECT_THAT(told, ElementsAre(taken, taken, taken));
}

TEST_F(OfUsers, WhereNobodyCanBeToldAValueWithoutRoomIsDeliveredAndNotRetained) {
  Peer& reader = world.peer("reader").connect().subscribe("#");
  for (const char* topic : {"a", "b", "c"}) put_untold("ann", topic);
  EXPECT_EQ(reader.read().got.size(), 3u);
  EXPECT_EQ(retained("b"), "1");
  EXPECT_EQ(retained("c"), "");
  EXPECT_EQ(refused(), 1u);
  put_untold("bob", "c");
  EXPECT_EQ(retained("c"), "1");
}

TEST_F(OfUsers, AValueIsStoredWhenItsPublisherIsTold) {
  Command command = command_of("ann", message("a", "1", 0, true));
  std::string then;
  command.get_if<command::PublishFor>()->request->done = [&](std::optional<PublishRefusal>) {
    then = retained("a");
  };
  world.joins = [] { return true; };
  world.apply(std::move(command));
  EXPECT_EQ(then, "") << "not before the batch ends";
  world.end_batch();
  EXPECT_EQ(then, "1");
  world.joins = nullptr;
}

class OfAll : public PublishFor {
 protected:
  OfAll() : PublishFor(two_values(&TopicLimits::count_max)) {}
};

TEST_F(OfAll, RetainedValuesAreAsManyAsThereMayBe) {
  put("ann", "a");
  put("bob", "b");
  put("ann", "c");
  ask("ann", message("d", "1"));
  EXPECT_THAT(told, ElementsAre(taken, taken, PublishRefusal::slots_are_full, taken));
  EXPECT_EQ(retained("c"), "");
}

TEST_F(PublishFor, WhileMemoryIsScarceNoRetainedValueGrows) {
  put("ann", "a", "12345");
  world.processor.ledger().set_limit(1);
  world.processor.ledger().set_other(1);
  world.processor.update_ledger();
  put("ann", "b");
  put("ann", "a", "54321");
  ask("ann", message("b", "1"));
  EXPECT_THAT(told, ElementsAre(taken, PublishRefusal::memory_is_scarce, taken, taken));
  EXPECT_EQ(retained("b"), "");
  EXPECT_EQ(stats().memory_refusals.value(), 1u);
}

TEST_F(PublishFor, WhileTheStoreCannotWriteWhatItWouldKeepIsRefused) {
  world.open_store();  // MQTT clients wait
  put("ann", "a");
  world.log->has_trouble = store::Trouble::no_space;
  put("ann", "a", "");
  ask("ann", message("b", "1", 1, false, 1));
  world.log->has_trouble = store::Trouble::broken;
  put("ann", "b");
  ask("ann", message("b", "not kept"));
  EXPECT_THAT(std::exchange(told, {}),
              ElementsAre(taken, PublishRefusal::store_is_full, PublishRefusal::store_is_full,
                          PublishRefusal::store_fails, taken));
  EXPECT_EQ(retained("a"), "1");
  EXPECT_EQ(retained("b"), "");
  EXPECT_EQ(stats().unwritten_refusals.value(), 3u);
  world.log->has_trouble = store::Trouble::none;
  put("ann", "b");
  EXPECT_THAT(told, ElementsAre(taken));
}

TEST_F(PublishFor, WhoOwnsAValueOutlivesTheProcess) {
  world.open_store();
  put("ann", "a");
  put("", "b");
  put_untold("bob", "c");
  world.advance_ms(2000);  // what comes at QoS 0 is written once a second
  world.commit();
  world.restart();
  const TopicTable& topics = world.processor.topics();
  EXPECT_EQ(topics.retained_user(*topics.find(topic_hash("a"), "a")), "ann");
  EXPECT_EQ(topics.retained_user(*topics.find(topic_hash("b"), "b")), "");
  EXPECT_EQ(topics.retained_user(*topics.find(topic_hash("c"), "c")), "bob");
}

}  // namespace
}  // namespace millrace::broker
