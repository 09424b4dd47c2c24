#include "core/broker/snapshot_turns.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "tests/broker/parts.hpp"

namespace millrace::broker {
namespace {

using testing::ElementsAre;

class SnapshotTurn : public testing::Test {
 protected:
  // One that has a snapshot to be sent.
  Session& waiting_session() {
    Client& client = parts.client();
    SnapshotCursor cursor;
    cursor.subscription = &parts.subscribe(client, to("a/#"));
    client.session.deferred.write().snapshots.add(std::move(cursor));
    turns.wait(client.session);
    return client.session;
  }
  std::vector<std::uint64_t> take_all() {
    std::vector<std::uint64_t> numbers;
    while (!turns.empty()) numbers.push_back(turns.take().number);
    return numbers;
  }

  Parts parts;
  SnapshotTurns turns;
};

TEST_F(SnapshotTurn, GoesRound) {
  for (int i = 0; i < 3; ++i) waiting_session();
  std::vector<std::uint64_t> served;
  for (int i = 0; i < 7; ++i) {
    Session& session = turns.take();
    served.push_back(session.number);
    turns.wait(session);  // it needs another one
  }
  EXPECT_THAT(served, ElementsAre(1, 2, 3, 1, 2, 3, 1));
}

TEST_F(SnapshotTurn, IsKeptByWhoAsksAgain) {
  Session& first = waiting_session();
  waiting_session();
  turns.wait(first);
  EXPECT_THAT(take_all(), ElementsAre(1, 2)) << "each once";
}

TEST_F(SnapshotTurn, IsPassedOnByWhoLeaves) {
  Session& first = waiting_session();
  Session& second = waiting_session();
  waiting_session();
  turns.leave(second);
  turns.leave(second);
  EXPECT_FALSE(second.deferred.read().snapshot_turn);
  EXPECT_EQ(&turns.take(), &first);
  turns.leave(first);  // it had its turn
  turns.wait(second);
  EXPECT_THAT(take_all(), ElementsAre(3, 2)) << "who comes back goes behind all that wait";
}

TEST_F(SnapshotTurn, TakesNoMemoryOfWhoNeverWaits) {
  Session& idle = parts.client().session;
  turns.leave(idle);
  EXPECT_FALSE(idle.deferred.is_made());
}

}  // namespace
}  // namespace millrace::broker
