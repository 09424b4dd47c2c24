// NatsClient: one connection to a NATS server by libnats, which blocks: so it has a thread of its own
// that connects, publishes what it is given, and ends. What happens is gathered and told to the I/O
// thread once; what comes is bounded, and what is beyond is dropped and counted.
//
//     I/O thread --send(), change()--> its thread --libnats--> server
//     I/O thread <--on_nats_events(), take()-- libnats's threads
//
// It lives until its thread has ended, which nobody waits for: a call of libnats may take seconds. From
// forget() on it says nothing to anybody.
//
// Threads: made and used on the I/O thread; libnats's call the static functions.
#pragma once

#include <nats/nats.h>

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/broker/outbox.hpp"
#include "server/net/io_thread.hpp"
#include "server/upstream/plan.hpp"

namespace millrace::server {

struct NatsMessageDeleter {
  void operator()(natsMsg* message) const { natsMsg_Destroy(message); }
};
using NatsMessage = std::unique_ptr<natsMsg, NatsMessageDeleter>;

class NatsOwner {
 public:
  // Something happened: take() says what. On the I/O thread.
  virtual void on_nats_events() = 0;

 protected:
  ~NatsOwner() = default;
};

class NatsClient : public std::enable_shared_from_this<NatsClient> {
 public:
  struct Outgoing {
    std::string subject;
    broker::Delivery delivery;
    bool retain = false;
    bool charged = true;  // false: it was reported as drained before, and is sent again
    std::string reply;    // where its acknowledgement is to go; empty: it has none
    std::string id;       // by which a stream knows it again; empty: it has none
  };
  // What is subscribed to, under a number; no subjects: no more.
  struct Change {
    std::size_t number = 0;
    std::vector<std::string> subjects;
  };
  struct Events {
    bool connected = false;            // now
    bool subscribed = false;           // the server knows all changes so far
    bool closed = false;               // nothing more will follow
    std::optional<std::string> fault;  // why the connection ended, or never was
    std::vector<NatsMessage> messages;
    std::vector<std::pair<std::string, std::string>> refused;  // a subject, and why
    std::vector<std::uint16_t> too_large;                      // packet identifiers; 0: QoS 0
    std::uint64_t overflow = 0;                                // so many were dropped
    std::uint64_t drained_bytes = 0;                           // charges of deliveries
    std::int64_t round_trip_ns = 0;                            // 0: not measured
  };
  // What may wait for the I/O thread. More is dropped: NATS cannot be asked to wait.
  static constexpr std::uint64_t incoming_bytes_max = 64ull << 20;

  // `url`: of plan's addresses. The owner lives until forget().
  NatsClient(IoThread& thread, NatsOwner& owner, UpstreamPlanRef plan, std::string url);

  void start();
  void change(std::vector<Change> changes);
  // `late`: what was published is reported as drained when the server has it, so that no buffer on
  // the way holds values that newer ones may replace.
  void send(std::vector<Outgoing> batch, bool late);
  bool has_unsent() const;
  Events take();
  // What was taken has been dealt with.
  void let_in(std::uint64_t bytes);
  // Publishes what it was given, and ends.
  void stop();
  void forget();

  static std::uint64_t size_of(const natsMsg& message);

 private:
  struct Handles;  // of libnats, of its own thread

  void run();
  bool connect(Handles& handles);
  natsStatus set_options(natsOptions& options);
  void serve(Handles& handles);
  void subscribe(Handles& handles, const std::vector<Change>& changes);
  bool publish(Handles& handles, std::vector<Outgoing>& batch, bool late);
  natsStatus publish_one(Handles& handles, const Outgoing& one);
  bool flush(Handles& handles);
  void count_dropped(Handles& handles);
  void fail(std::string why);
  template <class What>
  void tell(What what);

  static void on_message(natsConnection*, natsSubscription*, natsMsg* message, void* id);
  static void on_closed(natsConnection*, void* id);
  static void on_error(natsConnection*, natsSubscription*, natsStatus, void* id);

  const UpstreamPlanRef plan_;
  const std::string url_;
  std::uint64_t id_ = 0;  // by which libnats's threads find it, while it lives

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  // Under mutex_:
  IoThread* thread_;  // null: forgotten
  NatsOwner* owner_;
  Events events_;
  bool posted_ = false;
  std::uint64_t incoming_bytes_ = 0;
  std::vector<Outgoing> outgoing_;
  std::vector<Change> changes_;
  bool changed_ = false;  // also by no changes
  bool late_ = false;
  bool busy_ = false;  // its thread publishes
  bool lost_ = false;
  bool stopping_ = false;
};

}  // namespace millrace::server
