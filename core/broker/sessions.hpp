// Sessions: the life of sessions and of the connections that speak for them: connect, takeover,
// close, wills, expiry.
//
// What always holds: a client identifier has at most one session, and a session at most one
// connection, which knows it (outbox->session); a session without a connection and without an
// expiry does not exist; a will is published at most once; a session that ended lives until its
// subscriptions are removed and the batch has ended, as cached matches and lists may still name it.
//
// Threads: the processor's holder alone.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/broker/batch.hpp"
#include "core/broker/command.hpp"
#include "core/broker/deliverer.hpp"
#include "core/broker/fan_out.hpp"
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
  };
  explicit Sessions(const Parts& parts)
      : batch_(parts.batch),
        timers_(parts.timers),
        router_(parts.router),
        deliverer_(parts.deliverer),
        fan_out_(parts.fan_out),
        removals_left_(batch_.limits().removals_per_batch) {}

  void connect(Outbox& outbox, ConnectRequest& request);
  void close(Outbox& outbox, const command::Close& close);
  // Ends a connection from this side: tells it why, and parts it from its session.
  void disconnect(Session& session, protocol::ReasonCode reason);

  // Looks at the sessions whose time has come, within the batch's budget.
  void fire_timers();
  // Wills that are due; whoever made them so publishes them.
  bool has_due_wills() const { return !due_wills_.empty(); }
  Message take_due_will();

  // At the end of the batch: takes sessions that ended apart, as much as a batch may.
  void forget_ended();

  std::size_t size() const { return by_client_id_.size(); }
  const Session* find(std::string_view client_id) const;

 private:
  enum class Will : std::uint8_t { publish, discard };
  Session& start(const ConnectRequest& request);
  void attach(Session& session, Outbox& outbox, ConnectRequest& request);
  void set_will(Session& session, std::optional<ConnectRequest::Will>&& will);
  // Parts session and connection; the session ends if it does not outlive its connection.
  void detach(Session& session, Will will);
  void end(Session& session);
  struct Ended;
  void remove_subscriptions(Ended& ended);
  void hand_on_shared(Session& session);
  void make_will_due(Session& session);
  void fire(Session& session);

  Batch& batch_;
  SessionTimers& timers_;
  Router& router_;
  Deliverer& deliverer_;
  FanOut& fan_out_;

  // By client identifier, as the session holds it.
  std::unordered_map<std::string_view, std::unique_ptr<Session>, TopicHash> by_client_id_;
  std::uint64_t session_number_ = 0;
  std::deque<Message> due_wills_;
  // Until nothing names them any more.
  struct Ended {
    std::unique_ptr<Session> session;
    std::uint32_t next_slot = 0;  // of its table of subscriptions: those before are removed
  };
  std::deque<Ended> ended_;
  std::uint32_t removals_left_ = 0;  // in this batch
};

}  // namespace millrace::broker
