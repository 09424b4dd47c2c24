#include "core/broker/pending.hpp"

#include <cassert>
#include <utility>

namespace millrace::broker {

void PendingQueue::push_every(PendingEntry entry) {
  entry.epoch = epoch_;
  every_bytes_ += entry.bytes();
  every_.push_back(std::move(entry));
}

PendingEntry PendingQueue::drop_oldest() {
  assert(!every_.empty());
  PendingEntry entry = std::move(every_.front());
  every_.pop_front();
  every_bytes_ -= entry.bytes();
  return entry;
}

bool PendingQueue::push_adaptive(PendingEntry entry) {
  if (collapsed_) return push_cell(std::move(entry));
  entry.epoch = epoch_;
  append_newest(std::move(entry), /*as_cell=*/false);
  ++adaptive_count_;
  return false;
}

bool PendingQueue::push_cell(PendingEntry entry) {
  entry.epoch = epoch_;
  if (replace_cell(entry)) return true;
  append_newest(std::move(entry), /*as_cell=*/true);
  return false;
}

void PendingQueue::push_fixed(PendingEntry entry) {
  entry.epoch = epoch_;
  cells_.erase(key_of(entry));
  append_newest(std::move(entry), /*as_cell=*/false);
  newest_.back().is_fixed = true;
}

bool PendingQueue::replace_cell(PendingEntry& entry) {
  const auto found = cells_.find(key_of(entry));
  if (found == cells_.end()) return false;
  PendingEntry& waiting = newest_[found->second - newest_base_].entry;
  if (waiting.epoch != entry.epoch) return false;
  // Two topics with one hash do not share a cell; the later one goes to the end.
  if (waiting.delivery.message.topic() != entry.delivery.message.topic()) return false;
  newest_bytes_ -= waiting.bytes();
  newest_bytes_ += entry.bytes();
  entry.since_ns = waiting.since_ns;
  waiting = std::move(entry);
  return true;
}

void PendingQueue::append_newest(PendingEntry entry, bool as_cell) {
  newest_bytes_ += entry.bytes();
  if (as_cell) cells_[key_of(entry)] = newest_base_ + newest_.size();
  newest_.push_back({std::move(entry), as_cell});
}

std::size_t PendingQueue::collapse() {
  const std::size_t before = newest_.size();
  auto backlog = std::exchange(newest_, {});
  newest_bytes_ = 0;
  newest_base_ = 0;
  adaptive_count_ = 0;
  cells_.clear();
  for (Cell& cell : backlog) {
    if (cell.is_fixed) {
      cells_.erase(key_of(cell.entry));
      append_newest(std::move(cell.entry), /*as_cell=*/false);
      newest_.back().is_fixed = true;
    } else if (!replace_cell(cell.entry)) {
      append_newest(std::move(cell.entry), /*as_cell=*/true);
    }
  }
  collapsed_ = true;
  return before - newest_.size();
}

std::optional<std::int64_t> PendingQueue::newest_since_ns() const {
  if (newest_.empty()) return std::nullopt;
  return newest_.front().entry.since_ns;
}

void PendingQueue::seal() {
  if (empty()) return;
  ++epoch_;
  cells_.clear();
}

PendingEntry* PendingQueue::front(Lane lane) {
  PendingEntry* every = every_.empty() ? nullptr : &every_.front();
  PendingEntry* newest = newest_.empty() ? nullptr : &newest_.front().entry;
  PendingEntry* asked = lane == Lane::every ? every : newest;
  const PendingEntry* other = lane == Lane::every ? newest : every;
  if (asked != nullptr && other != nullptr && other->epoch < asked->epoch) return nullptr;
  return asked;
}

PendingEntry PendingQueue::pop(Lane lane) {
  if (lane == Lane::every) return drop_oldest();
  assert(!newest_.empty());
  PendingEntry entry = std::move(newest_.front().entry);
  if (const auto cell = cells_.find(key_of(entry));
      cell != cells_.end() && cell->second == newest_base_) {
    cells_.erase(cell);
  }
  if (newest_.front().is_adaptive()) --adaptive_count_;
  newest_.pop_front();
  ++newest_base_;
  newest_bytes_ -= entry.bytes();
  if (newest_.empty()) collapsed_ = false;
  return entry;
}

bool PendingQueue::front_is_cell() const {
  return !newest_.empty() && newest_.front().is_cell;
}

void PendingQueue::index_all() {
  cells_.clear();
  newest_base_ = 0;
  for (std::size_t i = 0; i < newest_.size(); ++i) {
    const Cell& cell = newest_[i];
    if (cell.is_cell && cell.entry.epoch == epoch_) cells_[key_of(cell.entry)] = i;
  }
}

}  // namespace millrace::broker
