// A small store that has every kind of record, damaged at each of its bytes: the server starts, what
// is damaged is set aside and counted, and whatever it does not touch is served.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "tests/broker/filled_store.hpp"
#include "tests/broker/stored_promises.hpp"

namespace millrace::broker {
namespace {

using records::Kind;
using store::FaultyFiles;

class DamagedStore : public testing::Test {
 protected:
  // Of the files, with this content of one of them.
  static void put(FaultyFiles& files, const Contents& contents, const std::string& name,
                  const store::Bytes& content) {
    for (const auto& [other, bytes] : contents) files.set_content(other, bytes);
    files.set_content(name, content);
  }
  // The server has what `state` says, keeps its promises, and goes on, as the next one does.
  static void expect_served(FaultyFiles& files, ServerOnFiles& server, const store::State& state,
                            const std::string& what) {
    ASSERT_EQ(store::without_dead_bodies(server.found()), store::without_dead_bodies(state))
        << what;
    const std::string broken =
        broken_promise(server.world(), promises_of(state), [&] { server.commit(); });
    ASSERT_EQ(broken, "") << what;
    world_goes_on(server.world());
    ASSERT_TRUE(server.commit());
    ServerOnFiles again(files, small_segments, with_newest);
    // It is told of until a compaction has written the store anew.
    ASSERT_EQ(again.recovery().damaged_places, server.recovery().damaged_places) << what;
    ASSERT_EQ(again.recovery().torn_bytes, 0u) << what;
    ASSERT_TRUE(again.found().contains({records::retained_space, 0, "goes/on"})) << what;
  }
  static void world_goes_on(World& world) {
    world.peer("goes on").connect().publish("goes/on", "x", 1, true);
  }

  std::mt19937_64 random_{16};
};

// --- What the store has --------------------------------------------------------------------------

TEST_F(DamagedStore, HasEveryKindOfRecordInEveryState) {
  const auto places = places_of(Filled().log(), "log-");
  std::set<std::pair<store::RecordKind, Kind>> seen;
  for (const Place& place : places) {
    store::RecordReader reader{store::BytesView(place.records)};
    for (store::Record record; reader.next(record);) {
      const bool of_group = record.kind == store::RecordKind::erase_group;
      const Kind kind = of_group ? Kind::session : records::kind_of(record.key);
      ASSERT_NE(kind, Kind::count);
      seen.emplace(record.kind, kind);
    }
  }
  // One that is new is to be added to what fills the store.
  for (std::size_t i = 0; i < static_cast<std::size_t>(Kind::count); ++i) {
    const Kind kind = static_cast<Kind>(i);
    EXPECT_TRUE(seen.contains({store::RecordKind::put, kind})) << i;
    if (kind == Kind::body || kind == Kind::session) continue;  // removed with others
    EXPECT_TRUE(seen.contains({store::RecordKind::erase, kind})) << i;
  }
  EXPECT_TRUE(seen.contains({store::RecordKind::erase_group, Kind::session}));

  const store::State state = whole_state(places);
  std::set<Waits> waits;
  std::set<InflightState> sent, sent_apart;
  std::set<std::uint32_t> epochs;
  for (const auto& [key, value] : state) {
    switch (kind_of(key)) {
      case Kind::entry: {
        const auto entry = records::decode_entry(value.first);
        ASSERT_TRUE(entry);
        if (entry->packet_id == 0) {
          waits.insert(entry->waits);
          epochs.insert(entry->epoch);
        } else {
          sent.insert(entry->state);
        }
        break;
      }
      case Kind::bound:
        sent_apart.insert(records::decode_bound(value.first)->state);
        break;
      default:
        break;
    }
  }
  EXPECT_THAT(waits,
              testing::ElementsAre(Waits::every, Waits::adaptive, Waits::cell, Waits::fixed));
  const auto each_state = testing::ElementsAre(
      InflightState::awaits_puback, InflightState::awaits_pubrec, InflightState::awaits_pubcomp);
  EXPECT_THAT(sent, each_state);
  EXPECT_THAT(sent_apart, each_state);
  EXPECT_THAT(epochs, testing::SizeIs(testing::Gt(1u)));
}

// --- Damage on the disk --------------------------------------------------------------------------

TEST_F(DamagedStore, AFlippedBitInAnyByteOfTheLogCostsItsBatchAndNothingElse) {
  const Contents contents = Filled().log();
  const auto places = places_of(contents, "log-");
  ASSERT_GT(contents.size(), 2u) << "one segment";
  const std::uint64_t flushed = places.back().flushed;
  for (const auto& [name, content] : contents) {
    const auto at = [&, file = &name](const Place& place, std::size_t byte) {
      return place.file == *file && byte >= place.begin && byte < place.end;
    };
    for (std::size_t byte = 0; byte < content.size(); ++byte) {
      const auto place = std::find_if(places.begin(), places.end(),
                                      [&](const Place& one) { return at(one, byte); });
      const bool in_head = place == places.end();
      // Of a long record some.
      if (!in_head && place->end - place->begin > 1000 && byte - place->begin > 100 &&
          random_() % 16 != 0) {
        continue;
      }
      const std::string what = name + " at " + std::to_string(byte);
      store::Bytes flipped = content;
      flipped[byte] ^= static_cast<std::uint8_t>(1u << random_() % 8);
      FaultyFiles files;
      put(files, contents, name, flipped);
      store::Log log(files, small_segments);
      const auto [found, recovery] = store::open_and_read(log);
      if (!in_head && place->number > flushed) {  // as if the last write had been torn
        EXPECT_GT(recovery.torn_bytes, 0u) << what;
        EXPECT_EQ(recovery.damaged_places, 0u) << what;
      } else {
        EXPECT_EQ(recovery.torn_bytes, 0u) << what;
        EXPECT_EQ(recovery.damaged_places, 1u) << what;
        EXPECT_EQ(recovery.missing_batches, in_head ? 0u : 1u) << what;
        ASSERT_EQ(recovery.damaged_files.size(), 1u) << what;
        EXPECT_TRUE(files.has(recovery.damaged_files[0])) << what;
      }
      const store::State state = state_of(places, [&](const Place& one) {
        if (in_head) return false;
        return one.number == place->number ||
               (place->number > flushed && one.number > place->number);
      });
      ASSERT_EQ(found, state) << what;
      // What a server makes of that: of each batch a few times, as it takes longest.
      if (!in_head && byte != place->begin && random_() % 16 != 0) continue;
      FaultyFiles of_server;
      put(of_server, contents, name, flipped);
      ServerOnFiles server(of_server, small_segments, with_newest);
      expect_served(of_server, server, state, what);
      if (HasFailure()) return;
    }
  }
}

TEST_F(DamagedStore, ASnapshotIsServedWithoutItsDamage) {
  const Contents contents = Filled().snapshot();
  const auto places = places_of(contents, "snapshot-");
  ASSERT_EQ(places.size(), 1u);
  const std::string name = places[0].file;
  const store::Bytes& content = contents.at(name);
  for (std::size_t byte = 0; byte < content.size(); byte += 1 + random_() % 7) {
    const std::string what = name + " at " + std::to_string(byte);
    store::Bytes flipped = content;
    flipped[byte] ^= static_cast<std::uint8_t>(1u << random_() % 8);
    FaultyFiles files;
    put(files, contents, name, flipped);
    ServerOnFiles server(files, small_segments, with_newest);
    EXPECT_GE(server.recovery().damaged_places, 1u) << what;
    EXPECT_FALSE(server.recovery().damaged_files.empty()) << what;
    const bool in_head = byte < store::FileHead::size;
    EXPECT_EQ(server.found(), in_head ? whole_state(places) : store::State()) << what;
    const StoredPromises promises = promises_of(server.found());
    ASSERT_EQ(broken_promise(server.world(), promises, [&] { server.commit(); }), "") << what;
    if (HasFailure()) return;
  }
}

TEST_F(DamagedStore, AStoreThatIsCutAtAnyByteServesWhatWasBefore) {
  const Contents contents = Filled().log();
  const auto places = places_of(contents, "log-");
  const std::string name = places.back().file;
  const store::Bytes& content = contents.at(name);
  for (std::size_t bytes = 0; bytes < content.size(); ++bytes) {
    const std::string what = name + " with " + std::to_string(bytes);
    FaultyFiles files;
    put(files, contents, name,
        store::Bytes(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(bytes)));
    ServerOnFiles server(files, small_segments, with_newest);
    EXPECT_EQ(server.recovery().damaged_places, 0u) << what;
    const auto is_cut = [&](const Place& place) { return place.file == name && place.end > bytes; };
    const bool at_end = bytes <= store::FileHead::size ||
                        std::any_of(places.begin(), places.end(), [&](const Place& place) {
                          return place.file == name && place.end == bytes;
                        });
    EXPECT_EQ(server.recovery().torn_bytes == 0, at_end) << what;
    expect_served(files, server, state_of(places, is_cut), what);
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace millrace::broker
