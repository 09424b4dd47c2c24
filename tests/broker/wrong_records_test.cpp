// Records that are missing, or are not what a server wrote though their checksum says so: they cost
// what depends on them, and harm nothing else.
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/broker/filled_store.hpp"
#include "tests/broker/stored_promises.hpp"

namespace millrace::broker {
namespace {

using protocol::PacketType;
using records::Kind;

TEST(WrongRecords, ARecordThatIsMissingCostsWhatDependsOnItAndNothingElse) {
  const store::State whole = whole_state(places_of(Filled().log(), "log-"));
  for (const auto& [key, value] : whole) {
    store::State state = whole;
    state.erase(key);
    MemoryLog log;
    World world;
    world.start_with(state, log, 0, with_newest);
    const auto commit = [&] {
      world.end_batch();
      world.tell_committed(log.appended());
    };
    ASSERT_EQ(broken_promise(world, promises_of(state), commit), "") << testing::PrintToString(key);
  }
}

// Servers one after the other, of which the first starts with those records.
class Lives {
 public:
  explicit Lives(const store::State& state) {
    store::Batch batch;
    for (const auto& [key, value] : state) {
      const auto& [space, group, rest] = key;
      batch.put({static_cast<std::uint8_t>(space), group, rest}, value.first, value.second);
    }
    log_.append(batch, false);
  }
  World& start() {
    world_.reset();
    world_ = std::make_unique<World>();
    world_->start_with(state(), log_, log_.appended());
    return *world_;
  }
  void commit() {
    world_->end_batch();
    world_->tell_committed(log_.appended());
  }
  store::State state() const { return log_.state(log_.appended()); }
  // The client comes back to its session, and reads what there is.
  std::vector<std::string> read(const char* client_id) {
    Peer& reader = world_->peer(client_id).connect(false, never_expires);
    for (int i = 0; i < 3; ++i) {
      commit();
      reader.read();
    }
    return reader.payloads();
  }

 private:
  MemoryLog log_;
  std::unique_ptr<World> world_;
};

Peer& durable_reader(World& world, const char* client_id, const char* filter, int qos) {
  return world.peer(client_id).connect(true, never_expires).subscribe(filter, qos, Mode::every);
}

TEST(WrongRecords, AMessageThatIsMissingIsNoOtherThatComesLater) {
  World before;
  before.open_store();
  durable_reader(before, "reader", "a", 1).close();
  before.peer("writer").connect().publish("a", "lost", 1);
  store::State state = before.log->state(before.log->appended());
  const StateKey body(store::body_space, 1, "");
  ASSERT_EQ(state.erase(body), 1u);

  Lives lives(state);
  World& first = lives.start();
  EXPECT_EQ(first.restored.orphans, 1u);
  durable_reader(first, "stranger", "b", 1).close();
  first.peer("writer").connect().publish("b", "for the stranger", 1);
  lives.commit();
  EXPECT_FALSE(lives.state().contains(body)) << "its number is not given to another";
  const World& second = lives.start();
  EXPECT_EQ(second.restored.orphans, 0u) << "it was told of once";
  EXPECT_EQ(second.restored.messages, 1u);
  EXPECT_TRUE(lives.read("reader").empty());
  EXPECT_EQ(lives.read("stranger"), std::vector<std::string>{"for the stranger"});
}

TEST(WrongRecords, AnIdentifierWhoseMessageIsMissingIsNotTakenByALaterOne) {
  World before;
  before.open_store();
  durable_reader(before, "reader", "a", 2).close();
  before.peer("writer").connect().publish("a", "lost", 2);
  Peer& reader = before.peer("reader").connect(false, never_expires).read();
  reader.acknowledge(PacketType::pubrec, reader.got.at(0).packet_id);
  before.run_until_idle();
  store::State state = before.log->state(before.log->appended());
  const auto rest_of = [](records::Part part) { return records::rest_of(part, 1); };
  ASSERT_TRUE(state.contains({records::session_space, 1, rest_of(records::Part::bound)}));
  ASSERT_EQ(state.erase(StateKey(records::session_space, 1, rest_of(records::Part::entry))), 1u);

  Lives lives(state);
  World& first = lives.start();
  EXPECT_EQ(first.restored.orphans, 1u);
  first.peer("writer").connect().publish("a", "later", 2);
  lives.commit();
  const World& second = lives.start();
  EXPECT_EQ(second.restored.orphans, 0u);
  EXPECT_EQ(lives.read("reader"), std::vector<std::string>{"later"});
}

// As by a fault of the memory before the checksum was made, or by an import.
class WrongRecord {
 public:
  WrongRecord(const store::State& whole, const StateKey& key, std::size_t bit) : state_(whole) {
    const auto [space, group, rest] = key;
    const auto [value, body] = whole.at(key);
    std::string bytes = rest + value;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
    state_.erase(key);
    state_.emplace(StateKey(space, group, bytes.substr(0, rest.size())),
                   std::pair(bytes.substr(rest.size()), body));
    world_.start_with(state_, log_, 0, with_newest);
  }

  std::string broken_promise(const StoredPromises& promises) {
    return broker::broken_promise(
        world_, promises, [this] { commit(); }, false);
  }
  // Everybody takes and acknowledges what comes, whatever it is.
  void go_on() {
    for (const auto& [key, value] : state_) {
      if (kind_of(key) != Kind::session) continue;
      const auto state = records::decode_session(value.first);
      if (state) readers_.push_back(&come_back(world_, *state, [this] { commit(); }));
    }
    Peer& sender = world_.peer("another").connect();
    for (const char* topic : {"e/x", "a/x", "a/y", "l/x", "s/x", "r/user", "n/1"}) {
      sender.publish(topic, "later", 2, true);
    }
    for (int i = 0; i < 3; ++i) {
      commit();
      for (Peer* reader : readers_) answer(*reader);
    }
    for (Peer* reader : readers_) reader->close();
    sender.publish("e/x", "at last", 1);
    world_.advance_ms(100'000);
    commit();
  }

 private:
  void commit() {
    world_.end_batch();
    if (log_.appended() > log_.committed) world_.tell_committed(log_.appended());
    log_.committed = log_.appended();
  }
  static void answer(Peer& reader) {
    reader.read();
    for (const Got& got : std::exchange(reader.got, {})) {
      for (const std::uint32_t identifier : got.identifiers) {
        ASSERT_TRUE(identifier > 0 && identifier <= 268'435'455);  // else it cannot be written
      }
      if (got.qos > 0) {
        reader.acknowledge(got.qos == 1 ? PacketType::puback : PacketType::pubrec, got.packet_id);
      }
    }
    for (const protocol::Packet& packet : std::exchange(reader.control, {})) {
      if (const auto* pubrel = std::get_if<protocol::Pubrel>(&packet)) {
        reader.acknowledge(PacketType::pubcomp, pubrel->packet_id);
      }
    }
  }

  store::State state_;
  MemoryLog log_;
  World world_;
  std::vector<Peer*> readers_;
};

TEST(WrongRecords, ARecordThatIsWrongUnderItsChecksumHarmsNoOther) {
  const store::State whole = whole_state(places_of(Filled().log(), "log-"));
  std::mt19937_64 random(16);
  for (const auto& [key, value] : whole) {
    const std::size_t bytes = std::get<2>(key).size() + value.first.size();
    const StoredPromises promises = promises_without(whole, key);
    for (std::size_t bit = 0; bit < bytes * 8; ++bit) {
      if (random() % (bit < 8 * 100 ? 4 : 32) != 0) continue;
      const auto what = [&] { return testing::PrintToString(key) + " bit " + std::to_string(bit); };
      WrongRecord wrong(whole, key, bit);
      ASSERT_EQ(wrong.broken_promise(promises), "") << what();
      wrong.go_on();
    }
  }
}

TEST(WrongRecords, NumbersAndTimesAtTheirLimitsEndNothing) {
  store::State state;
  records::SessionState session;
  session.client_id = "reader";
  session.is_v5 = true;
  session.expiry_s = 3600;
  session.expires_at_ns = UINT64_MAX;
  state[{records::session_space, 1, records::rest_of(records::Part::session)}] = {encode(session),
                                                                                  0};
  records::SubscriptionState subscription;
  subscription.number = 1;
  subscription.filter_bytes = 1;
  subscription.qos = 1;
  subscription.mode = Mode::every;
  const auto subscribed = records::rest_of(records::Part::subscription, "a");
  state[{records::session_space, 1, subscribed}] = {encode(subscription), 0};
  const Message kept = message("a", "x", 1, false, 1);
  const std::string body = encode(records::Packet{false, 0, 0, store::text_of(kept.packet_span())});
  state[{store::body_space, 1, ""}] = {body, 0};
  records::Entry entry;
  entry.qos = 1;
  const auto last = records::rest_of(records::Part::entry, UINT32_MAX);
  state[{records::session_space, 1, last}] = {encode(entry), 1};

  MemoryLog log;
  World world;
  world.start_with(state, log, 0);
  EXPECT_EQ(world.restored.orphans, 1u);
  EXPECT_NE(world.processor.find_session("reader"), nullptr);
  world.peer("writer").connect().publish("a", "later", 1);
  const Peer& reader = come_back(world, session, [&] { world.tell_committed(log.appended()); });
  EXPECT_EQ(reader.payloads(), std::vector<std::string>{"later"});
}

}  // namespace
}  // namespace millrace::broker
