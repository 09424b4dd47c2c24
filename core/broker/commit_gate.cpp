#include "core/broker/commit_gate.hpp"

#include <algorithm>
#include <cassert>
#include <functional>
#include <iterator>
#include <unordered_set>

namespace millrace::broker {

CommitGate::Held& CommitGate::held(Outbox& outbox) {
  ++size_;
  ++current_size_;
  const auto [place, is_new] = places_.try_emplace(&outbox, current_.size());
  if (is_new) current_.push_back({OutboxRef(&outbox), {}, {}, false, 0});
  ++current_[place->second].count;
  return current_[place->second];
}

void CommitGate::seal(std::uint64_t number) {
  if (current_.empty()) return;
  assert(sealed_.empty() || sealed_.back().number <= number);
  places_.clear();
  std::uint64_t bytes = 0;
  for (const Held& held : current_) bytes += held.bytes();
  bytes_ += bytes;
  sealed_.push_back({number, std::exchange(current_size_, 0), bytes, std::exchange(current_, {})});
}

void CommitGate::release(std::uint64_t number) {
  for (; !sealed_.empty() && sealed_.front().number <= number; sealed_.pop_front()) {
    for (Held& held : sealed_.front().of) let_go(held);
    size_ -= sealed_.front().count;
    bytes_ -= sealed_.front().bytes;
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
  size_ = current_size_ = bytes_ = 0;
}

std::vector<OutboxRef> CommitGate::shed(std::uint64_t bytes_max) {
  std::unordered_map<Outbox*, std::uint64_t> bytes_of;
  for (const Sealed& sealed : sealed_) {
    for (const Held& held : sealed.of) bytes_of[held.outbox.get()] += held.bytes();
  }
  std::vector<std::pair<std::uint64_t, Outbox*>> most;
  for (const auto& [outbox, bytes] : bytes_of) most.emplace_back(bytes, outbox);
  std::sort(most.begin(), most.end(), std::greater<>());
  std::vector<OutboxRef> shed;
  std::unordered_set<const Outbox*> is_shed;
  std::uint64_t left = bytes_;
  for (auto next = most.begin(); left > bytes_max && next != most.end(); ++next) {
    left -= next->first;
    shed.emplace_back(next->second);
    is_shed.insert(next->second);
  }
  for (Sealed& sealed : sealed_) {
    std::erase_if(sealed.of, [&](const Held& held) {
      if (!is_shed.contains(held.outbox.get())) return false;
      sealed.bytes -= held.bytes();
      sealed.count -= held.count;
      size_ -= held.count;
      return true;
    });
  }
  bytes_ = left;
  return shed;
}

}  // namespace millrace::broker
