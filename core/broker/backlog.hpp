// Backlog: what waits in a session until its connection has credit, and what is dropped or replaced
// when too much waits.
//
// The queue itself is PendingQueue, the values that rate limits hold back are in RateLimits; here
// are the policies: limits and overflow of `every`, the collapse of an adaptive backlog, and the
// figures about all of it.
//
// What always holds: after each call the queue is within its limits (but for `backpressure`, which
// withholds acknowledgements instead), and the gauges say what waits.
//
// Threads: the processor's holder alone.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>

#include "core/broker/batch.hpp"
#include "core/broker/command.hpp"
#include "core/broker/publish_context.hpp"
#include "core/broker/session.hpp"

namespace millrace::broker {

// Who gets what waits in a session that ends, at QoS 1: by the number of its shared subscription, the
// key of the group (Router::find_group()).
using HeirKeys = std::unordered_map<std::uint32_t, std::string>;
struct SharedHeirs {
  HeirKeys groups;
  PendingQueue sent;  // was inflight, if they get that later, too: ahead of the rest
};

class Backlog {
 public:
  // Ends a session's connection, for the overflow policy `disconnect`. The session may end with it.
  using Disconnect = std::function<void(Session&, protocol::ReasonCode)>;

  Backlog(Batch& batch, Disconnect disconnect)
      : batch_(batch), disconnect_(std::move(disconnect)) {}

  // The session of a link, which has an origin, with what its ConnectRequest says of its queue; until
  // it ends.
  void make_spool(Session& session, const std::optional<QueueLimits>& limits,
                  std::shared_ptr<SpoolFigures> figures);
  QueueLimits limits_of(const Session& session) const {
    if (session.origin != 0) [[unlikely]] {
      const auto found = spools_.find(&session);
      if (found != spools_.end() && found->second.limits) return *found->second.limits;
    }
    const ProcessorLimits& all = batch_.limits();
    return {all.queue_messages, all.queue_bytes, all.overflow};
  }

  // The session, or its connection, may have ended afterwards.
  void add(Session& session, Mode mode, PendingEntry entry, PublishContext& context);

  // --- Change filters ---

  // The value tells the reader nothing new, and no heartbeat is due.
  bool is_unchanged(const Session& session, const Shape& shape, const ConflationKey& key,
                    const ComparedValue& value) const;
  // What is held back of that topic is dropped, as something newer came.
  void drop_held(Session& session, const ConflationKey& key);
  // The same, and the newer one is dropped, too.
  // `stored`: of a value that a publisher waits for (AwaitedAcks), or 0.
  void drop_unchanged(Session& session, const ConflationKey& key, std::uint32_t stored);
  // The front of `newest`, which is taken out for this: held back until its heartbeat is due, or
  // dropped. False: it is to be sent all the same.
  bool keep_unchanged(Session& session, PendingEntry& entry);
  // It is bound now.
  void note_sent(Session& session, const ConflationKey& key, const Shape& shape,
                 const ComparedValue& value);

  // Of how many topics a session's rate limits and filters may know.
  std::uint64_t topics_max() const;

  // A request is about to be added, by this or another of the client's subscriptions: the values
  // that rate limits hold back stay before it.
  void before_request(Session& session);

  // Subscriptions are about to be made, or changed: what waits now keeps its order.
  void seal(Session& session);
  // Subscriptions have ended: what waits now keeps its order. A value that their rate limits hold
  // back is sent if other subscriptions are left, which may match it too.
  void unsubscribed(Session& session, std::span<const Subscription* const> ended);

  // The connection went: QoS 0 does not wait for the next one, and rate limits begin anew. A session
  // that ends with it is cleared next.
  void part(Session& session);
  // The session ends: nothing waits any more. With heirs, next_heritable() shows what waited.
  void clear(Session& session, SharedHeirs heirs);

  // A timer of the session went off: rate limits that are over, a backlog that is too old.
  void on_timer(Session& session);
  // Has a collapsed backlog caught up? Then it is an ordinary one again.
  void unfold_if_caught_up(Session& session);

  // Memory is scarce: drops the oldest of what waits, until the session holds that much or `count`
  // messages have gone. Returns how many went.
  std::size_t shed(Session& session, std::uint64_t bytes, std::size_t count);

  // What waited in sessions that ended, in their order and in its own; each is gone with the next
  // call. Null: nothing is left.
  struct Heritable {
    PendingEntry entry;
    const std::string* group = nullptr;  // its heir
  };
  std::optional<Heritable> next_heritable();
  bool has_heritable() const { return !heritable_.empty(); }

  // At the end of the batch: frees what was discarded, as much as a batch may.
  void free_discarded();
  // What the entries of all sessions take, those which are not freed yet among them.
  std::uint64_t entry_bytes() const {
    return (batch_.stats().pending.value() + discarded_size_) * PendingQueue::entry_bytes +
           limits_ * RateLimits::limit_bytes + sent_values_ * SentValues::sent_bytes;
  }
  bool has_discarded() const { return !discarded_.empty() || has_heritable(); }

  // After anything was taken out of, or put into, session.pending, and when what waits has become as
  // old as makes a session slow. Where the backlog has collapsed, or is so no more, the connection is
  // told too (Session::update_binding).
  void update_gauges(Session& session);

 private:
  struct Spool {
    std::optional<QueueLimits> limits;
    std::shared_ptr<SpoolFigures> figures;  // null: nobody is shown them
  };
  // Adds to a spool's figures what was dropped and replaced during its life.
  class SpoolCount;

  SpoolFigures* figures_of(const Session& session) const {
    if (session.origin == 0) [[likely]]
      return nullptr;
    const auto found = spools_.find(&session);
    return found == spools_.end() ? nullptr : found->second.figures.get();
  }
  void show(const Session& session) const;

  bool is_slow(const Session& session) const;
  void add_entry(Session& session, Mode mode, PendingEntry entry, PublishContext& context);
  bool makes_room(Session& session, const PendingEntry& entry);
  bool makes_room_for_user(Session& session, const PendingEntry& entry);
  void drop_oldest_for(Session& session, const PendingEntry& entry, Drop why);
  // For the journal: the entry is about to be queued.
  void write_down(Session& session, PendingEntry& entry, Waits waits);
  // The same: it has left the queue, and is not sent.
  void dropped(Session& session, const PendingEntry& entry);
  void dropped(const Session& session, std::uint32_t stored);
  void add_every(Session& session, PendingEntry entry, PublishContext& context);
  void add_request(Session& session, PendingEntry entry);
  void add_shaped(Session& session, PendingEntry entry, PublishContext& context);
  bool hold_unchanged(Session& session, PendingEntry& entry);
  void release_held(Session& session);
  void release_held_of(Session& session, std::span<const Subscription* const> ended);
  void count_conflated(Session& session, std::uint64_t count = 1);
  void bound_newest(Session& session);
  void collapse(Session& session);
  void discard(PendingQueue queue);
  void leave(PendingQueue queue, HeirKeys heirs);

  struct Heritage {
    PendingQueue queue;
    HeirKeys heirs;
  };

  Batch& batch_;
  const Disconnect disconnect_;
  std::unordered_map<const Session*, Spool> spools_;  // of links: few
  // What waited for sessions or connections that ended. It is freed in slices, at the end of batches;
  // discarded_size_ counts its messages, and those of heritable_.
  std::deque<PendingQueue> discarded_;
  std::deque<Heritage> heritable_;
  std::size_t discarded_size_ = 0;
  std::uint64_t limits_ = 0;       // RateLimits of all sessions
  std::uint64_t sent_values_ = 0;  // SentValues of all sessions
};

}  // namespace millrace::broker
