// EventStream: one reader of `/events`.
//
// To the processor it is a client like any other: an Outbox, a session for as long as the request
// lasts, and a `latest` subscription for each filter. So its values are conflated, limited in rate,
// seeded and judged by access rules where those of MQTT clients are, and it costs the processor about
// what a client of `$latest/` costs, and nothing while nothing that it reads is published. (Waiters on
// slots, as long polls are, would have to find by themselves which topics a filter matches, at each
// new topic, and would all be woken on each publish, however slow they read.) Neighbours in a receive
// buffer come as one PacketRun, and are decoded here.
//
// One piece is on its way at a time: what the processor hands over meanwhile is taken when that has
// been written, and only what was written gives credit for more. While its values may be replaced, the
// credit is what its reader has room for, as far as TCP tells (net/late_binding.hpp): a browser on a
// slow link would show what waited in the kernel's buffers, seconds old.
//
// The answer begins when the processor has accepted the session and every subscription, so that a
// reader that is refused is told so by the status.
//
// Always: Connect is submitted first, Close last and once; the stream is kept (EventRoutes) until
// the queue has taken Close. The ledger is charged for it and for the piece on its way.
//
// Threads: the HTTP thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/broker/inbox.hpp"
#include "core/broker/outbox.hpp"
#include "server/auth/access.hpp"
#include "server/http/server.hpp"
#include "server/net/late_binding.hpp"

namespace millrace::server {

// What the readers of events count. Written by the HTTP thread alone.
struct EventCounters {
  Counter streams;               // open now
  Counter streams_refused;       // over http.event_streams_max
  Counter events;                // values sent
  Counter unread_bytes;          // what readers have not read, as far as TCP tells
  Counter late_binding_unknown;  // readers of which the kernel does not tell
};

class EventStream final : public std::enable_shared_from_this<EventStream>,
                          private broker::OutboxOwner,
                          private LateBinding::User {
 public:
  using Clock = std::chrono::steady_clock;

  struct Setup {
    broker::Inbox& inbox;
    broker::ReadyList& ready_list;
    LateHome& home;
    EventCounters& counters;
    std::string_view run;             // outlives the stream
    std::uint32_t payload_bytes_max;  // of one event
    std::uint32_t report_bytes;       // so many are written before the processor is told
    std::uint64_t newer_than = 0;     // 0: the reader has nothing yet
    std::int64_t expires_at_s = 0;    // Unix time at which its token ends; 0: never
  };

  EventStream(const Setup& setup, HttpExchange::Ptr exchange);
  ~EventStream();
  EventStream(const EventStream&) = delete;
  EventStream& operator=(const EventStream&) = delete;

  // `request` has one subscription for each filter.
  void start(broker::RightsRef rights, std::unique_ptr<broker::SubscribeRequest> request);
  // Ends the answer: the reader may come again.
  void end();
  // A comment, if nothing was written since `before`: so that both sides learn that the other is
  // gone. Its end, if its token has ended.
  void beat(Clock::time_point before, std::int64_t now_s);
  // Nothing is left of it anywhere.
  bool is_over() const { return gone_ && kept_.empty(); }

 private:
  void on_outbox_ready() override;
  void describe(broker::ConnectionFacts& facts) const override;
  void take();
  bool begin();
  void append(broker::Handover& handover, std::string& text);
  void refuse(std::string why);
  void on_taken();
  void on_reader_progress() override;
  void report();
  void follow_binding();
  std::uint32_t as_written(std::uint32_t message_bytes) const;
  void on_gone();
  void write(std::string text);
  void charge(std::uint64_t bytes);
  template <class What>
  void submit(What&& what);
  void submit_kept();

  const Setup setup_;
  const HttpExchange::Ptr exchange_;
  const broker::OutboxRef outbox_;
  std::shared_ptr<HttpBody> body_;           // null: the head is not sent yet
  std::unique_ptr<broker::Handover> early_;  // what was handed over before SUBACK; null: nothing
  std::vector<broker::Command> kept_;        // the queue had no room for them
  std::size_t filters_ = 0;                  // that it subscribes to
  std::uint32_t writing_bytes_ = 0;          // of messages, in the piece that is being written
  std::uint32_t unreported_bytes_ = 0;       // written
  // The same as bytes on the wire, and how many of them a byte of a message became, of those that were
  // reported last.
  std::uint64_t writing_text_bytes_ = 0;
  std::uint64_t unreported_text_bytes_ = 0;
  double bytes_per_byte_ = 2;
  std::unique_ptr<LateBinding> late_;  // null: it does not bind late
  std::uint64_t charged_bytes_ = 0;    // to the ledger
  std::uint64_t sent_bytes_ = 0;       // of events
  std::uint64_t sent_events_ = 0;
  const Clock::time_point begun_at_ = Clock::now();
  Clock::time_point written_at_ = Clock::now();
  bool writing_ = false;
  bool ending_ = false;
  bool gone_ = false;  // Close was submitted, or is kept
};

}  // namespace millrace::server
