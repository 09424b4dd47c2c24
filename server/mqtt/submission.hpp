// [4] submit: Submission, the way of one connection's commands into the processor's queue.
//
// The commands of a read are gathered in a list that the thread's connections share, and submitted
// at once. What the queue does not take is kept here, in order, until it does. How much of what was
// submitted is not applied yet decides whether the connection may read on (back-pressure), and
// whether it may answer something by itself: an answer stays behind those to earlier packets.
//
// Always: Connect is added first, Close last and once; nothing is added after it. A command that
// the queue did not take goes before those that come later.
//
// Threads: the connection's I/O thread.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/broker/command.hpp"
#include "core/broker/outbox.hpp"
#include "protocol/decode.hpp"
#include "server/mqtt/received_bytes.hpp"
#include "server/net/io_thread.hpp"

namespace millrace::server {

class Submission {
 public:
  explicit Submission(IoThread& thread) : thread_(thread) {}

  // The first command, from an accepted CONNECT. Before it there is no outbox, and nothing to add.
  void open(broker::OutboxRef outbox, std::unique_ptr<broker::ConnectRequest> request);
  bool is_open() const { return outbox_ != nullptr; }
  broker::Outbox* outbox() const { return outbox_.get(); }

  template <class What>
  void add(What&& what) {
    assert(!close_added_);
    thread_.commands().emplace_back(outbox_.get(), std::forward<What>(what));
  }
  void add_publish(broker::Message&& message) {
    const std::uint32_t bytes = message.packet_bytes;
    submitted_bytes_ += bytes;
    add(broker::command::Publish{std::move(message), bytes});
  }
  // A SUBSCRIBE or UNSUBSCRIBE that takes so many bytes until it is applied.
  template <class Request>
  void add_request(std::unique_ptr<Request> request, std::uint64_t bytes) {
    broker::RequestSize& size = request->size;
    size.charged_bytes = static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes, INT32_MAX));
    size.charge = broker::ConnectionCharge(thread_.inbox().ledger(), bytes);
    submitted_bytes_ += size.charged_bytes;
    if constexpr (std::is_same_v<Request, broker::SubscribeRequest>) {
      add(broker::command::Subscribe{std::move(request)});
    } else {
      add(broker::command::Unsubscribe{std::move(request)});
    }
  }
  // PUBACK, PUBREC, PUBREL or PUBCOMP.
  void add_ack(const protocol::Ack& ack);
  void add_close(protocol::ReasonCode reason, std::optional<std::uint32_t> new_expiry_s);
  bool has_close() const { return close_added_; }
  // Nothing more will be submitted: the queue has taken all, Close included, or nothing was opened.
  bool is_over() const { return outbox_ == nullptr || (close_added_ && gathered() == 0 && !kept_); }

  // --- The messages of the read that is being gathered ---
  // What becomes of the buffer that they are slices of. True: they keep it, the last one is charged
  // for what they do not use, and the reader is to hand it over. Else it can be read into again.
  [[nodiscard]] bool settle_slices(ReceivedBytes& received);
  // Charges the last message that is a slice of `buffer` for `bytes` more than its own.
  void charge_last_slice(const broker::Buffer* buffer, std::uint32_t bytes);
  // Copies each message that is a slice of `buffer` to a buffer of its own.
  void copy_slices(const broker::Buffer* buffer);

  // Submits what was gathered; what was kept goes before it.
  void submit();
  bool has_kept() const { return kept_ != nullptr; }
  // The thread ends: submits once more, and drops what the queue does not take.
  void give_up();

  // --- Back-pressure ---
  bool is_at_limit() const;
  // The limit is small, and is to be looked at within a read, too.
  bool is_costly() const { return is_open() && outbox_->asks_much(); }
  bool is_below_low_mark() const;  // half of each limit
  // Asks for a call of on_outbox_ready() as soon as more is applied. Check the counts once more
  // after this, before waiting for the call: what was applied before this brings no call.
  void ask_for_progress() { outbox_->pause(); }
  void forget_progress() { outbox_->resume(); }

  // --- Order of answers ---
  // All that was added so far, as a place in the order of commands.
  std::uint32_t mark() const { return submitted_commands_ + gathered(); }
  // What the processor staged for those has been handed over.
  std::uint32_t applied_commands() const { return outbox_->applied_commands(); }
  bool all_applied() const { return applied_commands() == mark(); }

 private:
  std::uint32_t gathered() const { return static_cast<std::uint32_t>(thread_.commands().size()); }
  std::uint32_t unapplied_commands() const {
    return submitted_commands_ + gathered() - applied_commands();
  }
  std::uint32_t commands_max() const;
  std::uint32_t unapplied_bytes() const { return submitted_bytes_ - outbox_->applied_bytes(); }
  void submit_kept();

  IoThread& thread_;
  broker::OutboxRef outbox_;
  std::unique_ptr<std::vector<broker::Command>> kept_;  // null: the queue took all
  std::uint32_t submitted_commands_ = 0;                // with those that are kept
  std::uint32_t submitted_bytes_ = 0;
  bool close_added_ = false;
};

}  // namespace millrace::server
