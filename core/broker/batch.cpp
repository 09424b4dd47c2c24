#include "core/broker/batch.hpp"

#include <algorithm>
#include <cassert>

namespace millrace::broker {

namespace {

// The connection ends before the store has what its CONNACK would have promised.
void withdraw_connack(Outbox& outbox) {
  outbox.connack_held = false;
  const bool told = outbox.has_staged() && outbox.staged().close;
  outbox.staged().clear();
  if (told) outbox.staged().close = protocol::ReasonCode::server_unavailable;
}

// True: the connection's I/O thread is to be woken.
bool hand_over(Outbox& outbox) {
  MILLRACE_CHECK(outbox.in_batch);
  // A session is detached from its outbox when `close` is staged; an outbox is attached at most once.
  MILLRACE_CHECK(!outbox.attached() || !outbox.has_staged() || !outbox.staged().close);
  outbox.in_batch = false;
  bool wake = false;
  if (outbox.connack_held && !outbox.attached()) withdraw_connack(outbox);
  if (outbox.has_staged() && !outbox.connack_held) {
    outbox.staged().compact();
    wake = outbox.hand_over();
  }
  // After the hand-over: a connection that sees the counts finds what those commands staged.
  if (outbox.publish_applied()) wake = outbox.announce() || wake;
  return wake;
}

}  // namespace

void Batch::begin(std::int64_t now_ns) {
  assert(now_ns >= now_ns_);
  MILLRACE_CHECK(touched_.empty() && closed_.empty());
  now_ns_ = now_ns;
  now_s_ = clock_seconds(now_ns);
  has_more_ = false;
  spent_ = 0 - stats_.work_units.value();
}

void Batch::finish() {
  for (Outbox* outbox : touched_) {
    // Whoever does not read holds that for long.
    if (outbox->outstanding_bytes >= LargestSessions::noted_bytes && outbox->attached())
        [[unlikely]]
      note_held(*outbox->session);
    if (!hand_over(*outbox)) continue;
    const auto wake_up = std::find_if(
        wake_ups_.begin(), wake_ups_.end(),
        [&](const WakeUp& candidate) { return candidate.list == &outbox->ready_list(); });
    if (wake_up != wake_ups_.end()) {
      wake_up->outboxes.emplace_back(outbox);
    } else {
      wake_ups_.push_back({&outbox->ready_list(), {OutboxRef(outbox)}});
    }
  }
  touched_.clear();
  wanting_sequence_.clear();
  for (WakeUp& wake_up : wake_ups_) {
    if (!wake_up.outboxes.empty()) wake_up.list->push(wake_up.outboxes);
    MILLRACE_CHECK(wake_up.outboxes.empty());
  }
  MILLRACE_CHECK(std::ranges::none_of(  // what was staged in an outbox has left it
      closed_, [](const OutboxRef& closed) { return closed->in_batch || closed->has_staged(); }));
  closed_.clear();
}

}  // namespace millrace::broker
