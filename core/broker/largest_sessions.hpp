// LargestSessions: which sessions hold most, so that memory can be taken back from those first.
//
// Sessions are listed by the power of two of what they hold in all, those without a connection apart;
// and these also by that of what waits in them, which can be dropped. Who holds little is not listed.
// The session of a link is listed by what waits in it alone: it does not end for memory. Within a
// power of two the session that was made first comes first, so that a replay takes the same one.
//
// What always holds: a session is listed where it belonged at its last note(); one that ended is not
// listed; what is returned is listed where it belongs now. A session that holds less than at its last
// note() moves when it is about to be returned.
//
// Threads: the processor's holder alone.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <map>
#include <utility>

#include "core/broker/session.hpp"

namespace millrace::broker {

class LargestSessions {
 public:
  // Who holds less is not listed.
  static constexpr std::uint64_t listed_bytes_min = 4096;
  // What is bound to a connection or inflight is noted in such steps. A power of two.
  static constexpr std::uint64_t noted_bytes = 32 * 1024;

  // After a change of what the session holds, or of whether it has a connection; and once it ended.
  void note(Session& session) {
    const bool offline = !session.connected();
    const bool may_end = !session.ended && session.origin == 0;
    const bool may_shed = !session.ended && offline;
    if (offline != session.listed_offline) [[unlikely]] {
      move(holders_of(session), session, session.holding_rank, 0);
      session.listed_offline = offline;
    }
    move(holders_of(session), session, session.holding_rank,
         may_end ? rank_of(session.held_bytes()) : 0);
    move(waiting_, session, session.waiting_rank,
         may_shed ? rank_of(session.pending.memory_bytes()) : 0);
  }

  // By what waits, of those without a connection. Null: none is listed.
  Session* most_waiting() {
    return up_to_date([this] { return first_of(waiting_); });
  }
  // By all that they hold.
  Session* largest() {
    return up_to_date([this] {
      Session* const connected = first_of(connected_holders_);
      Session* const offline = first_of(offline_holders_);
      if (connected == nullptr || offline == nullptr) return connected ? connected : offline;
      if (connected->holding_rank != offline->holding_rank) {
        return connected->holding_rank > offline->holding_rank ? connected : offline;
      }
      return connected->number < offline->number ? connected : offline;
    });
  }
  Session* largest_offline() {
    return up_to_date([this] { return first_of(offline_holders_); });
  }

 private:
  // By power of two, then by Session::number. The first one stays empty.
  using Lists = std::array<std::map<std::uint64_t, Session*>, 64>;

  static std::uint8_t rank_of(std::uint64_t bytes) {
    return static_cast<std::uint8_t>(std::bit_width(bytes / listed_bytes_min));
  }
  // What find() finds, once that is listed where it belongs.
  template <class Find>
  Session* up_to_date(Find&& find) {
    for (;;) {
      Session* const session = find();
      if (session == nullptr) return nullptr;
      const auto before = std::pair(session->holding_rank, session->waiting_rank);
      note(*session);
      if (std::pair(session->holding_rank, session->waiting_rank) == before) return session;
    }
  }
  static Session* first_of(const Lists& lists) {
    for (std::size_t rank = lists.size(); rank-- > 0;) {
      if (!lists[rank].empty()) return lists[rank].begin()->second;
    }
    return nullptr;
  }
  Lists& holders_of(const Session& session) {
    return session.listed_offline ? offline_holders_ : connected_holders_;
  }
  static void move(Lists& lists, Session& session, std::uint8_t& from, std::uint8_t to) {
    if (from == to) [[likely]]
      return;
    if (from != 0) lists[from].erase(session.number);
    if (to != 0) lists[to].emplace(session.number, &session);
    from = to;
  }

  Lists connected_holders_;
  Lists offline_holders_;
  Lists waiting_;
};

}  // namespace millrace::broker
