// Restore: makes the processor's state from the records that the store found at the start.
//
// What happened meanwhile is brought up to date: a connection that the last process had is gone
// since now; wills and sessions that fell due are due; each owner has the rights that it has now, and
// a session whose owner is gone does not come back. What a token carried of rules is not kept: until
// its user is back, only what is queued depends on it, and that is judged anew then. A record that
// names what is not there (the damage of a disk may leave such) is counted and passed over; its
// number is not given to another.
//
// Threads: the processor's holder, before the first batch.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/broker/backlog.hpp"
#include "core/broker/batch.hpp"
#include "core/broker/deliverer.hpp"
#include "core/broker/journal.hpp"
#include "core/broker/revoker.hpp"
#include "core/broker/rights.hpp"
#include "core/broker/router.hpp"
#include "core/broker/session_timers.hpp"
#include "core/broker/sessions.hpp"
#include "core/broker/values.hpp"
#include "core/store/format.hpp"

namespace millrace::broker {

struct RestoreFigures {
  std::uint64_t sessions = 0;
  std::uint64_t subscriptions = 0;
  std::uint64_t messages = 0;  // queued and inflight
  std::uint64_t retained = 0;
  std::uint64_t newest = 0;   // values that are not retained
  std::uint64_t revoked = 0;  // sessions whose owner is gone
  std::uint64_t orphans = 0;  // records that were passed over
};

class Restore {
 public:
  struct Parts {
    Batch& batch;
    SessionTimers& timers;
    Router& router;
    Values& values;
    Backlog& backlog;
    Deliverer& deliverer;
    Sessions& sessions;
    Revoker& revoker;
  };
  // `authority` null: owners are taken as they are, and may do everything.
  Restore(const Parts& parts, std::shared_ptr<const Authority> authority, std::int64_t now_ns,
          std::uint64_t time_of_day_ns)
      : parts_(parts),
        authority_(std::move(authority)),
        now_ns_(now_ns),
        time_of_day_ns_(time_of_day_ns) {}

  // In the order of keys.
  void add(const store::Record& record);
  // After the last one. Null: no change is written down from now on.
  RestoreFigures finish(Journal* journal);

  std::uint64_t last_body() const { return last_body_; }
  std::uint64_t time_of_day_ns() const { return time_of_day_ns_; }

 private:
  void add_body(const store::Record& record);
  void add_retained(const store::Record& record);
  void add_newest(const store::Record& record);
  void add_of_session(const store::Record& record);
  bool begin_session(const store::Record& record);
  void end_session();
  void restore_deadlines(Session& session, const records::SessionState& state,
                         const Rights* rights);
  bool add_subscription(std::string_view name, std::string_view value);
  void note_number(std::uint32_t number);
  bool add_entry(std::uint32_t number, const store::Record& record);
  void push_pending();
  RightsRef rights_of(const records::SessionState& state) const;
  void restore_rights(Session& session, const records::SessionState& state, RightsRef rights);
  BufferRef packet_of(const records::Packet& packet, bool ages) const;
  std::int64_t monotonic_ns(std::uint64_t unix_ns) const;

  const Parts parts_;
  const std::shared_ptr<const Authority> authority_;
  const std::int64_t now_ns_;
  const std::uint64_t time_of_day_ns_;

  RestoreFigures figures_;
  std::unordered_map<std::uint64_t, BufferRef> bodies_;
  std::uint64_t last_body_ = 0;
  // The session whose records come now.
  std::uint64_t group_ = 0;
  Session* session_ = nullptr;  // null: its own record is not there, or its owner is gone
  std::unordered_map<std::uint32_t, records::Bound> bound_;   // whose entries have not come yet
  std::vector<std::pair<std::uint32_t, Inflight>> inflight_;  // with their order
  std::vector<std::pair<PendingEntry, Waits>> pending_;

  std::vector<Session*> restored_;
  std::vector<std::pair<Session*, RightsRef>> to_judge_;
  std::vector<Session*> were_connected_;
  std::vector<std::uint64_t> forgotten_;  // groups
  // Numbers of entries whose message is missing, or of which nothing but an identifier is there.
  std::vector<std::pair<Session*, std::uint32_t>> lost_;
};

}  // namespace millrace::broker
