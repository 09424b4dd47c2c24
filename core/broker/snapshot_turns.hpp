// SnapshotTurns: the sessions that wait for their turn to look at stored values. A turn is a part of
// the batch's budget, so a session whose snapshots go through a million topics delays another one's
// by a turn, not by all of its own.
//
// What always holds: a session stands in here once, and has a connection; who had a turn and needs
// another one goes behind all that wait.
//
// Threads: the processor's holder alone.
#pragma once

#include <cassert>

#include "core/broker/session.hpp"

namespace millrace::broker {

class SnapshotTurns {
 public:
  bool empty() const { return waiting_.empty(); }

  // One that waits already keeps its place.
  void wait(Session& session) {
    assert(session.connected() && !session.deferred.read().snapshots.empty());
    auto& turn = session.deferred.write().snapshot_turn;
    if (!turn) turn = waiting_.insert(waiting_.end(), &session);
  }
  // One that need not wait.
  void leave(Session& session) {
    if (!session.deferred.read().snapshot_turn) return;
    auto& turn = session.deferred.write().snapshot_turn;
    assert(!waiting_.empty() && **turn == &session);
    waiting_.erase(*turn);
    turn.reset();
  }
  // Whose turn it is; it waits no longer.
  Session& take() {
    assert(!waiting_.empty());
    Session& session = *waiting_.front();
    leave(session);
    return session;
  }

 private:
  std::list<Session*> waiting_;
};

}  // namespace millrace::broker
