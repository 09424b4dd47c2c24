#include "core/broker/pending.hpp"

#include <algorithm>
#include <cassert>
#include <iterator>
#include <utility>

#include "core/broker/check.hpp"

namespace millrace::broker {

bool PendingQueue::Lanes::agree() const {
  if (every.empty() && (every_bytes != 0 || every_lasting != 0)) return false;
  if (newest.empty() && (fixed_bytes != 0 || fixed_count != 0)) return false;
  if (newest.empty() && weighted.empty() && newest_bytes != 0) return false;
  if (!weighted.empty() && fixed_count != 0) return false;
  if (collapsed && adaptive_count != 0) return false;
  return every_lasting <= every.size() && newest_lasting <= newest.size() + weighted.size() &&
         weighted_cells.size() <= weighted.size() && fixed_bytes <= newest_bytes &&
         cells.size() + adaptive_count + fixed_count <= newest.size();
}

void PendingQueue::push_every(PendingEntry entry) {
  Lanes& lanes = lanes_.write();
  MILLRACE_CHECK(lanes.every.empty() || lanes.every.back().epoch <= lanes.epoch);
  entry.epoch = lanes.epoch;
  lanes.every_bytes += entry.bytes();
  lanes.every_lasting += lasting(entry);
  lanes.every.push_back(std::move(entry));
  MILLRACE_CHECK(lanes.agree());
}

PendingEntry PendingQueue::drop_oldest() {
  Lanes& lanes = lanes_.write();
  MILLRACE_CHECK(!lanes.every.empty());
  PendingEntry entry = std::move(lanes.every.front());
  MILLRACE_CHECK(lanes.every_bytes >= entry.bytes());
  MILLRACE_CHECK(lanes.every_lasting >= lasting(entry));
  lanes.every.pop_front();
  lanes.every_bytes -= entry.bytes();
  lanes.every_lasting -= lasting(entry);
  MILLRACE_CHECK(lanes.agree());
  return entry;
}

bool PendingQueue::push_adaptive(PendingEntry entry) {
  if (collapsed()) return push_cell(std::move(entry));
  Lanes& lanes = lanes_.write();
  entry.epoch = lanes.epoch;
  append_newest(std::move(entry), /*as_cell=*/false);
  ++lanes.adaptive_count;
  MILLRACE_CHECK(lanes.agree());
  return false;
}

bool PendingQueue::push_cell(PendingEntry entry) {
  if (replace_cell(entry)) return true;
  entry.epoch = lanes_.read().epoch;
  if (entry.weight() != 0 && !has_unreplaceable()) {
    add_weighted(std::move(entry));
  } else {
    append_newest(std::move(entry), /*as_cell=*/true);
  }
  MILLRACE_CHECK(lanes_.read().agree());
  return false;
}

void PendingQueue::push_fixed(PendingEntry entry) {
  take_weights_back();
  Lanes& lanes = lanes_.write();
  entry.epoch = lanes.epoch;
  lanes.cells.erase(key_of(entry));
  ++lanes.fixed_count;
  lanes.fixed_bytes += entry.bytes();
  append_newest(std::move(entry), /*as_cell=*/false);
  lanes.newest.back().is_fixed = true;
  MILLRACE_CHECK(lanes.agree());
}

bool PendingQueue::replace_cell(PendingEntry& entry) {
  if (newest_size() == 0) return false;
  entry.epoch = lanes_.read().epoch;
  return replace_cell_of_epoch(entry);
}

PendingEntry* PendingQueue::find_cell(const PendingEntry& entry) {
  Lanes& lanes = lanes_.write();
  if (!lanes.weighted.empty()) {
    const auto* const found = lanes.weighted_cells.find(key_of(entry));
    if (found != nullptr) return &(*found)->second;
  }
  const std::uint64_t* const found = lanes.cells.find(key_of(entry));
  if (found == nullptr) return nullptr;
  MILLRACE_CHECK(*found - lanes.newest_base < lanes.newest.size());
  MILLRACE_CHECK(lanes.newest[*found - lanes.newest_base].is_cell);
  return &lanes.newest[*found - lanes.newest_base].entry;
}

bool PendingQueue::replace_cell_of_epoch(PendingEntry& entry) {
  PendingEntry* const found = find_cell(entry);
  if (found == nullptr) return false;
  Lanes& lanes = lanes_.write();
  PendingEntry& waiting = *found;
  if (waiting.epoch != entry.epoch) return false;
  // Two topics with one hash do not share a cell; the later one goes to the end.
  if (waiting.delivery.message.topic() != entry.delivery.message.topic()) return false;
  MILLRACE_CHECK(lanes.newest_bytes >= waiting.bytes());
  MILLRACE_CHECK(lanes.newest_lasting >= lasting(waiting));
  lanes.newest_bytes -= waiting.bytes();
  lanes.newest_bytes += entry.bytes();
  lanes.newest_lasting -= lasting(waiting);
  lanes.newest_lasting += lasting(entry);
  entry.since_ns = waiting.since_ns;
  if (waiting.delivery.stored != 0) lanes.replaced.push_back(waiting.delivery.stored);
  waiting = std::move(entry);
  return true;
}

void PendingQueue::append_newest(PendingEntry entry, bool as_cell) {
  Lanes& lanes = lanes_.write();
  // What was sealed stands before what came later.
  MILLRACE_CHECK(lanes.newest.empty() || lanes.newest.back().entry.epoch <= entry.epoch);
  lanes.newest_bytes += entry.bytes();
  lanes.newest_lasting += lasting(entry);
  if (as_cell) lanes.cells.put(key_of(entry), lanes.newest_base + lanes.newest.size());
  lanes.newest.push_back({std::move(entry), as_cell, /*is_fixed=*/false,
                          static_cast<std::uint32_t>(lanes.turn_by(weight_unset))});
}

// --- Weights -------------------------------------------------------------------------------------

void PendingQueue::add_weighted(PendingEntry entry) {
  Lanes& lanes = lanes_.write();
  MILLRACE_CHECK(entry.weight() <= weight_max);
  if (newest_size() == 0) lanes.turn = 0;
  lanes.newest_bytes += entry.bytes();
  lanes.newest_lasting += lasting(entry);
  const ConflationKey key = key_of(entry);
  const std::uint64_t turn = lanes.turn_by(entry.weight());
  lanes.weighted_cells.put(key, lanes.weighted.emplace(turn, std::move(entry)));
}

PendingEntry PendingQueue::take_weighted(Lanes& lanes, Weighted::iterator place) {
  PendingEntry entry = std::move(place->second);
  MILLRACE_CHECK(lanes.newest_bytes >= entry.bytes());
  MILLRACE_CHECK(lanes.newest_lasting >= lasting(entry));
  lanes.newest_bytes -= entry.bytes();
  lanes.newest_lasting -= lasting(entry);
  const auto* const cell = lanes.weighted_cells.find(key_of(entry));
  if (cell != nullptr && *cell == place) lanes.weighted_cells.erase(key_of(entry));
  lanes.weighted.erase(place);
  return entry;
}

// Behind what waits in order, as they would be served: each once more than a seal or a request.
void PendingQueue::take_weights_back() {
  if (!lanes_.is_made() || lanes_.read().weighted.empty()) return;
  Lanes& lanes = lanes_.write();
  while (!lanes.weighted.empty()) {
    append_newest(take_weighted(lanes, lanes.weighted.begin()), /*as_cell=*/true);
  }
  lanes.weighted_cells.clear();
  MILLRACE_CHECK(lanes.agree());
}

std::size_t PendingQueue::collapse() {
  take_weights_back();
  Lanes& lanes = lanes_.write();
  assert(!lanes.collapsed);
  const std::size_t before = lanes.newest.size();
  auto backlog = std::exchange(lanes.newest, {});
  lanes.newest_bytes = 0;
  lanes.newest_lasting = 0;
  lanes.newest_base = 0;
  lanes.adaptive_count = 0;
  lanes.cells.clear();
  for (Cell& cell : backlog) {
    if (cell.is_fixed) {
      lanes.cells.erase(key_of(cell.entry));
      append_newest(std::move(cell.entry), /*as_cell=*/false);
      lanes.newest.back().is_fixed = true;
    } else if (!replace_cell_of_epoch(cell.entry)) {
      append_newest(std::move(cell.entry), /*as_cell=*/true);
    }
  }
  assert(lanes.adaptive_count == 0);
  lanes.collapsed = true;
  assert(lanes.newest.size() <= before && lanes.agree());
  return before - lanes.newest.size();
}

std::optional<std::int64_t> PendingQueue::newest_since_ns() const {
  if (newest_size() == 0) return std::nullopt;
  const Lanes& lanes = lanes_.read();
  if (lanes.newest.empty()) return lanes.weighted.begin()->second.since_ns;
  return lanes.newest.front().entry.since_ns;
}

std::optional<std::int64_t> PendingQueue::since_ns() const {
  const auto newest = newest_since_ns();
  if (every_size() == 0) return newest;
  const std::int64_t every = lanes_.read().every.front().since_ns;
  return newest ? std::min(*newest, every) : every;
}

void PendingQueue::seal() {
  if (empty()) return;
  take_weights_back();
  Lanes& lanes = lanes_.write();
  ++lanes.epoch;
  lanes.cells.clear();
}

void PendingQueue::restore_epoch(std::uint32_t epoch) {
  Lanes& lanes = lanes_.write();
  assert(lanes.epoch <= epoch);
  if (std::exchange(lanes.epoch, epoch) != epoch) lanes.cells.clear();
}

PendingQueue PendingQueue::take_all() {
  if (empty()) return {};
  PendingQueue all;
  std::swap(all, *this);
  Lanes& taken = all.lanes_.write();
  Lanes& lanes = lanes_.write();
  lanes.replaced = std::exchange(taken.replaced, {});
  lanes.told_messages = taken.told_messages;
  lanes.told_bytes = taken.told_bytes;
  lanes.blocked_at_ns = taken.blocked_at_ns;
  lanes.epoch = taken.epoch;
  assert(empty() && lanes.agree());
  return all;
}

std::size_t PendingQueue::drop_some(std::size_t count) {
  std::size_t dropped = 0;
  const auto note = [this](const PendingEntry& entry) {
    if (entry.delivery.stored != 0) lanes_.write().replaced.push_back(entry.delivery.stored);
  };
  for (; dropped < count && every_size() > 0; ++dropped) note(drop_oldest());
  for (; dropped < count && newest_size() > 0; ++dropped) note(drop_of_newest());
  assert(dropped == count || empty());
  return dropped;
}

PendingQueue::Change PendingQueue::take_change() {
  const Change change{static_cast<std::int64_t>(size() - lanes_.read().told_messages),
                      static_cast<std::int64_t>(bytes() - lanes_.read().told_bytes)};
  if (change.messages != 0 || change.bytes != 0) {
    Lanes& lanes = lanes_.write();
    lanes.told_messages = size();
    lanes.told_bytes = bytes();
  }
  return change;
}

PendingEntry* PendingQueue::front(Lane lane) {
  if (empty()) return nullptr;
  Lanes& lanes = lanes_.write();
  PendingEntry* every = lanes.every.empty() ? nullptr : &lanes.every.front();
  PendingEntry* newest = lanes.newest.empty() ? nullptr : &lanes.newest.front().entry;
  if (lanes.weighted_is_next()) newest = &lanes.weighted.begin()->second;
  PendingEntry* asked = lane == Lane::every ? every : newest;
  const PendingEntry* other = lane == Lane::every ? newest : every;
  if (asked != nullptr && other != nullptr && other->epoch < asked->epoch) return nullptr;
  return asked;
}

PendingEntry PendingQueue::pop(Lane lane) {
  Lanes& lanes = lanes_.write();
  if (lane == Lane::every) return drop_oldest();
  if (lanes.weighted.empty()) [[likely]]
    return pop_newest(lanes);
  if (!lanes.weighted_is_next()) {
    lanes.turn = std::max(lanes.turn, lanes.turn_of(lanes.newest.front()));
    return pop_newest(lanes);
  }
  lanes.turn = std::max(lanes.turn, lanes.weighted.begin()->first);
  PendingEntry entry = take_weighted(lanes, lanes.weighted.begin());
  MILLRACE_CHECK(lanes.agree());
  return entry;
}

PendingEntry PendingQueue::drop_of_newest() {
  Lanes& lanes = lanes_.write();
  if (!lanes.newest.empty()) return pop_newest(lanes);
  MILLRACE_CHECK(!lanes.weighted.empty());
  return take_weighted(lanes, std::prev(lanes.weighted.end()));
}

PendingEntry PendingQueue::pop_newest(Lanes& lanes) {
  MILLRACE_CHECK(!lanes.newest.empty());
  forget(lanes, lanes.newest.front());
  PendingEntry entry = std::move(lanes.newest.front().entry);
  const std::uint64_t* const cell = lanes.cells.find(key_of(entry));
  if (cell != nullptr && *cell == lanes.newest_base) lanes.cells.erase(key_of(entry));
  lanes.newest.pop_front();
  ++lanes.newest_base;
  MILLRACE_CHECK(lanes.agree());
  return entry;
}

void PendingQueue::forget(Lanes& lanes, const Cell& cell) {
  MILLRACE_CHECK(lanes.newest_bytes >= cell.entry.bytes());
  MILLRACE_CHECK(lanes.newest_lasting >= lasting(cell.entry));
  MILLRACE_CHECK(lanes.adaptive_count > 0 || !cell.is_adaptive());
  lanes.newest_bytes -= cell.entry.bytes();
  lanes.newest_lasting -= lasting(cell.entry);
  if (cell.is_adaptive()) --lanes.adaptive_count;
  if (!cell.is_fixed) return;
  MILLRACE_CHECK(lanes.fixed_count > 0 && lanes.fixed_bytes >= cell.entry.bytes());
  --lanes.fixed_count;
  lanes.fixed_bytes -= cell.entry.bytes();
}

bool PendingQueue::front_is_cell() const {
  const auto& newest = lanes_.read().newest;
  if (lanes_.read().weighted_is_next()) return true;
  return !newest.empty() && newest.front().is_cell;
}

void PendingQueue::index_all() {
  Lanes& lanes = lanes_.write();
  lanes.cells.clear();
  lanes.newest_base = 0;
  for (std::size_t i = 0; i < lanes.newest.size(); ++i) {
    const Cell& cell = lanes.newest[i];
    if (cell.is_fixed) lanes.cells.erase(key_of(cell.entry));
    if (cell.is_cell && cell.entry.epoch == lanes.epoch) lanes.cells.put(key_of(cell.entry), i);
  }
}

}  // namespace millrace::broker
