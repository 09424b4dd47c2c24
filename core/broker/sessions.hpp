// Sessions: the life of sessions and of the connections that speak for them: connect, takeover,
// close, wills, expiry.
//
// What always holds: a client identifier has at most one session, and a session at most one
// connection, which knows it (outbox->session); a session without a connection and without an
// expiry does not exist; a will is published at most once; a session that ended lives until its
// subscriptions are removed and the batch has ended, as cached matches and lists may still name it.
// A session belongs to the owner whose CONNECT made it: nobody else gets it, or ends its connection;
// but that of a client without a user name ends when a user names it.
// Whoever connects, and whatever will is published, is judged by the newest rights; all other
// sessions are once a review is over.
//
// Threads: the processor's holder alone.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "core/broker/batch.hpp"
#include "core/broker/command.hpp"
#include "core/broker/deliverer.hpp"
#include "core/broker/fan_out.hpp"
#include "core/broker/inquiry.hpp"
#include "core/broker/revoker.hpp"
#include "core/broker/rights.hpp"
#include "core/broker/router.hpp"
#include "core/broker/session.hpp"
#include "core/broker/session_timers.hpp"
#include "core/broker/topic_hash.hpp"

namespace millrace::broker {

class Sessions {
 public:
  struct Parts {
    Batch& batch;
    SessionTimers& timers;
    Router& router;
    Deliverer& deliverer;
    FanOut& fan_out;
    Revoker& revoker;
  };
  explicit Sessions(const Parts& parts)
      : batch_(parts.batch),
        timers_(parts.timers),
        router_(parts.router),
        deliverer_(parts.deliverer),
        fan_out_(parts.fan_out),
        revoker_(parts.revoker),
        removals_left_(batch_.limits().removals_per_batch),
        hand_on_left_(batch_.limits().handed_on_per_batch()) {}

  void connect(Outbox& outbox, ConnectRequest& request);
  void close(Outbox& outbox, const command::Close& close);
  // Ends a connection from this side: tells it why, and parts it from its session.
  void disconnect(Session& session, protocol::ReasonCode reason);
  // The session ends, whatever its expiry, and its connection with it.
  void end(Session& session, protocol::ReasonCode reason);

  // Looks at the sessions whose time has come, within the batch's budget.
  void fire_timers();
  // Wills that are due. Sessions does not publish them: the Processor takes and publishes them
  // after each call that may have made one due.
  bool has_due_wills() const { return !due_wills_.empty(); }
  Message take_due_will();

  // --- Management ---

  // Ends the connection of that session, and the session itself if it is to. False: there is none.
  bool expel(std::string_view client_id, bool with_session);
  // Shows about `count` sessions from the cursor's place on.
  template <class Visit>
  void walk(SessionCursor& cursor, std::uint32_t count, Visit&& visit) const;

  // --- Rights ---

  // Every session is judged by the authority's rights, in slices; `done` is called after the last.
  void begin_review(ReviewRequest request);
  // The next slice, within the batch's budget.
  void review_some();
  // Brings one session up to date; it may have ended afterwards. Returns the units of work.
  std::uint64_t review(Session& session);
  // Of the newest authority; 0: there was no reload.
  std::uint64_t rights_revision() const { return authority_ ? authority_->revision() : 0; }

  // Before the end of the batch: what waited in sessions that ended, for shared subscriptions, goes to
  // others, as much as a batch may.
  void hand_on_some(Backlog& backlog);
  // At the end of the batch: takes sessions that ended apart, as much as a batch may.
  void forget_ended();
  // At its very end: what came of a review has been handed over.
  void finish_review();

  // At the start: one of that number, without a connection, and with nothing else yet.
  Session& restore(std::string_view client_id, std::uint64_t number);

  std::size_t size() const { return by_client_id_.size(); }
  // Some ended and are not taken apart yet.
  bool has_ended() const { return !ended_.empty(); }
  const Session* find(std::string_view client_id) const;
  // Those that ended and are not taken apart yet, too.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const std::unique_ptr<Session>& session : by_client_id_) visit(*session);
    for (const Ended& ended : ended_) visit(*ended.session);
  }
  // What the ledger is charged for it, as Holding::sessions.
  static std::uint64_t memory_bytes(const Session& session);

 private:
  enum class Will : std::uint8_t { publish, discard };
  // The review that is under way: it goes through the buckets of by_client_id_.
  struct ReviewUnderWay {
    std::function<void()> done;
    bool over = false;
    std::size_t bucket = 0;  // the next one
    std::size_t bucket_count = 0;
  };

  struct HashOfClientId {
    using is_transparent = void;
    std::size_t operator()(std::string_view client_id) const { return TopicHash()(client_id); }
    std::size_t operator()(const std::unique_ptr<Session>& session) const {
      return TopicHash()(session->client_id);
    }
  };
  struct EqualClientId {
    using is_transparent = void;
    static std::string_view of(std::string_view client_id) { return client_id; }
    static std::string_view of(const std::unique_ptr<Session>& session) {
      return session->client_id;
    }
    template <class One, class Other>
    bool operator()(const One& one, const Other& other) const {
      return of(one) == of(other);
    }
  };

  Session* find_present(std::string_view client_id);
  std::optional<protocol::ReasonCode> refusal_of(ConnectRequest& request);
  bool has_room(const ConnectRequest& request);
  bool is_outdated(const RightsRef& rights) const {
    return authority_ && rights && rights->revision < authority_->revision();
  }
  void judge_will(Session& session, const Rights* rights);
  std::uint64_t review_bucket(std::size_t bucket);
  Session& start(const ConnectRequest& request);
  Session& add(const ClientId& client_id, std::uint64_t number);
  void attach(Session& session, Outbox& outbox, ConnectRequest& request);
  void set_will(Session& session, std::optional<ConnectRequest::Will>&& will);
  // Separates session and connection; the session ends with it if its expiry is 0.
  void detach(Session& session, Will will);
  void end(Session& session);
  struct Ended;
  void remove_subscriptions(Ended& ended);
  static bool is_forgotten(const Session& session);
  SharedHeirs hand_on_shared(Session& session);
  void make_will_due(Session& session);
  void fire(Session& session);

  Batch& batch_;
  SessionTimers& timers_;
  Router& router_;
  Deliverer& deliverer_;
  FanOut& fan_out_;
  Revoker& revoker_;

  // By client identifier, which is the session's own.
  std::unordered_set<std::unique_ptr<Session>, HashOfClientId, EqualClientId> by_client_id_;
  std::uint64_t session_number_ = 0;
  std::deque<Message> due_wills_;
  // Until nothing names them any more.
  struct Ended {
    std::unique_ptr<Session> session;
    std::uint32_t next_slot = 0;  // of its table of subscriptions: those before are removed
  };
  std::deque<Ended> ended_;
  std::uint64_t ended_left_ = 0;     // about what ended_ still has of slots and inflight messages
  std::uint32_t removals_left_ = 0;  // in this batch
  std::size_t hand_on_left_ = 0;     // in this batch, of what waits: SharedLeftovers
  bool hands_on_ = false;            // right now: what ends by that leaves what it has for later
  std::shared_ptr<const Authority> authority_;  // null: rights are as each CONNECT brought them
  std::optional<ReviewUnderWay> review_;
};

// Sessions that come meanwhile may move the others to other buckets: then it begins again.
template <class Visit>
void Sessions::walk(SessionCursor& cursor, std::uint32_t count, Visit&& visit) const {
  if (cursor.bucket_count != by_client_id_.bucket_count()) {
    cursor.bucket_count = by_client_id_.bucket_count();
    cursor.bucket = 0;
    ++cursor.begun;
  }
  for (std::uint32_t looked = 0; looked < count && cursor.bucket < cursor.bucket_count; ++looked) {
    const std::size_t bucket = cursor.bucket++;
    for (auto one = by_client_id_.begin(bucket); one != by_client_id_.end(bucket); ++one) {
      visit(**one);
      ++looked;
    }
  }
  cursor.done = cursor.bucket == cursor.bucket_count;
}

}  // namespace millrace::broker
