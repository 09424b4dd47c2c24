#include "server/mqtt/submission.hpp"

#include <algorithm>
#include <cassert>
#include <iterator>

namespace millrace::server {

namespace {
// Of a connection that asks for what is costly: as many as have their turn in a moment.
constexpr std::uint32_t costly_commands_max = 64;
}  // namespace

void Submission::open(broker::OutboxRef outbox, std::unique_ptr<broker::ConnectRequest> request) {
  assert(!is_open() && gathered() == 0);
  outbox_ = std::move(outbox);
  add(broker::command::Connect{std::move(request)});
}

void Submission::add_close(protocol::ReasonCode reason, std::optional<std::uint32_t> new_expiry_s) {
  assert(is_open() && !close_added_);
  add(broker::command::Close{reason, new_expiry_s});
  close_added_ = true;
}

void Submission::add_ack(const protocol::Ack& ack) {
  namespace command = broker::command;
  switch (ack.type) {
    case protocol::PacketType::pubrec:
      return add(command::Pubrec{ack.packet_id, ack.reason});
    case protocol::PacketType::pubrel:
      return add(command::Pubrel{ack.packet_id, ack.reason});
    case protocol::PacketType::pubcomp:
      return add(command::Pubcomp{ack.packet_id, ack.reason});
    default:
      return add(command::Puback{ack.packet_id, ack.reason});
  }
}

// --- The messages of a read ----------------------------------------------------------------------

bool Submission::settle_slices(ReceivedBytes& received) {
  if (!received.has_slices()) return false;
  received.pay_references();
  if (!received.is_shared()) return false;
  if (!received.is_worth_handing_over()) {
    copy_slices(received.holder());
    return false;
  }
  charge_last_slice(received.holder(), received.unused_bytes());
  return true;
}

void Submission::charge_last_slice(const broker::Buffer* buffer, std::uint32_t bytes) {
  auto& commands = thread_.commands();
  for (auto last = commands.rbegin(); last != commands.rend(); ++last) {
    auto* publish = last->get_if<broker::command::Publish>();
    if (publish == nullptr || publish->message.buffer.get() != buffer) continue;
    publish->charged_bytes += bytes;
    submitted_bytes_ += bytes;
    return;
  }
}

void Submission::copy_slices(const broker::Buffer* buffer) {
  for (broker::Command& command : thread_.commands()) {
    auto* publish = command.get_if<broker::command::Publish>();
    if (publish != nullptr && publish->message.buffer.get() == buffer) {
      publish->message = publish->message.copy_to_keep();
    }
  }
}

// --- Submitting ----------------------------------------------------------------------------------

void Submission::submit() {
  std::vector<broker::Command>& commands = thread_.commands();
  if (!commands.empty()) {
    submitted_commands_ += gathered();
    std::size_t taken = 0;
    if (!kept_) taken = thread_.inbox().submit(commands);
    if (taken < commands.size()) {
      if (!kept_) kept_ = std::make_unique<std::vector<broker::Command>>();
      kept_->insert(kept_->end(),
                    std::make_move_iterator(commands.begin() + static_cast<std::ptrdiff_t>(taken)),
                    std::make_move_iterator(commands.end()));
    }
    commands.clear();
  }
  if (kept_) submit_kept();
}

// Asks for room first: what comes free after that brings a call.
void Submission::submit_kept() {
  thread_.inbox().wait_for_room(outbox_);
  const std::size_t taken = thread_.inbox().submit(*kept_);
  kept_->erase(kept_->begin(), kept_->begin() + static_cast<std::ptrdiff_t>(taken));
  if (kept_->empty()) kept_.reset();
}

void Submission::give_up() {
  submit();
  kept_.reset();
}

// --- Back-pressure -------------------------------------------------------------------------------

std::uint32_t Submission::commands_max() const {
  const std::uint32_t all = thread_.config().connection.unapplied_commands;
  return outbox_->asks_much() ? std::min(all, costly_commands_max) : all;
}

bool Submission::is_at_limit() const {
  if (kept_) return true;
  if (!is_open()) return false;
  return unapplied_commands() >= commands_max() ||
         unapplied_bytes() >= thread_.config().connection.unapplied_bytes;
}

bool Submission::is_below_low_mark() const {
  if (kept_) return false;
  if (!is_open()) return true;
  return unapplied_commands() <= commands_max() / 2 &&
         unapplied_bytes() <= thread_.config().connection.unapplied_bytes / 2;
}

}  // namespace millrace::server
