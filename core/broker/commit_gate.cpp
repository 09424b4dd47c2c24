#include "core/broker/commit_gate.hpp"

#include <algorithm>
#include <cassert>
#include <iterator>

namespace millrace::broker {

CommitGate::Held& CommitGate::held(Outbox& outbox) {
  ++size_;
  ++current_size_;
  const auto [place, is_new] = places_.try_emplace(&outbox, current_.size());
  if (is_new) current_.push_back({OutboxRef(&outbox), {}, {}, false});
  return current_[place->second];
}

void CommitGate::seal(std::uint64_t number) {
  if (current_.empty()) return;
  assert(sealed_.empty() || sealed_.back().number <= number);
  places_.clear();
  sealed_.push_back({number, std::exchange(current_size_, 0), std::exchange(current_, {})});
}

void CommitGate::release(std::uint64_t number) {
  for (; !sealed_.empty() && sealed_.front().number <= number; sealed_.pop_front()) {
    for (Held& held : sealed_.front().of) let_go(held);
    size_ -= sealed_.front().count;
  }
}

void CommitGate::let_go(Held& held) {
  Outbox& outbox = *held.outbox;
  if (!outbox.attached()) return;
  outbox.connack_held = false;
  Handover& staged = outbox.staged();
  staged.control.append(held.control);
  staged.deliveries.insert(staged.deliveries.end(),
                           std::make_move_iterator(held.deliveries.begin()),
                           std::make_move_iterator(held.deliveries.end()));
  batch_.touch(outbox);
}

// What a connection will not get takes nothing of its credit: what need not wait goes on.
void CommitGate::discard() {
  const auto give_back = [](const Held& held) {
    if (!held.outbox->attached()) return;
    for (const HandoverItem& item : held.deliveries) {
      assert(held.outbox->outstanding_bytes >= charge_bytes(item));
      held.outbox->outstanding_bytes -= charge_bytes(item);
    }
  };
  for (const Sealed& sealed : sealed_) std::for_each(sealed.of.begin(), sealed.of.end(), give_back);
  std::for_each(current_.begin(), current_.end(), give_back);
  sealed_.clear();
  current_.clear();
  places_.clear();
  size_ = current_size_ = 0;
}

}  // namespace millrace::broker
