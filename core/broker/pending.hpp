// PendingQueue: what waits for a connection's credit, private to the processor.
//
// Two lanes, served in turn. `every` is a plain FIFO. `newest` holds what may be conflated: entries
// of an adaptive subscription are appended until the backlog collapses; entries of a `latest` one,
// and all after a collapse, are cells: one for each (subscription, topic), replaced in place. A cell
// keeps its position, so topics are served round-robin: one that is published often neither delays
// nor displaces one that is published seldom.
//
// With weights (Shape::weight) topics are served as often as their weights are to each other: a cell
// has its turn so much later than the one that is served now as its weight is small, and the earliest
// turn is next (weighted fair queueing, of one message a topic). A cell keeps its turn, so it waits for
// no more than so many others, each as often as its weight allows: nothing starves. Cells of a weight
// wait apart, in the order of their turns; all else has turns in its order. What must keep its
// place among values, a request or a seal, takes them back to that order.
//
// What always holds: per-topic order, also between the lanes, because one topic of a session is
// served by one mode (its strongest); and when subscriptions change, seal() closes what waits:
// sealed entries are no longer replaced and go out, from both lanes, before anything that came
// later. Counts and bytes are those of what is in the lanes.
//
// Threads: the processor's holder alone. Messages in here are copies of their own
// (Message::copy_to_keep), so nothing pins a receive buffer.
#pragma once

#include <algorithm>
#include <boost/container/deque.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "core/broker/check.hpp"
#include "core/broker/outbox.hpp"
#include "core/broker/rare.hpp"
#include "core/broker/shape.hpp"
#include "core/broker/split_table.hpp"

namespace millrace::broker {

struct PendingEntry {
  Delivery delivery;               // packet_id not assigned yet
  std::uint32_t subscription = 0;  // Subscription::number
  std::uint32_t epoch = 0;         // of seal()
  std::int64_t since_ns = 0;       // when the position was taken
  ShapeRef shape;                  // of the subscription, if it says something of each topic

  std::uint32_t interval_ms() const { return shape ? shape->interval_ms : 0; }
  std::uint32_t weight() const { return shape ? shape->weight : 0; }
  std::uint32_t bytes() const { return delivery.message.packet_bytes; }
};

struct ConflationKey {
  std::uint32_t subscription = 0;
  std::uint64_t topic_hash = 0;
  friend bool operator==(const ConflationKey&, const ConflationKey&) = default;
};
struct ConflationKeyHash {
  std::size_t operator()(const ConflationKey& key) const {
    return static_cast<std::size_t>(key.topic_hash ^ (key.subscription * 0x9E3779B97F4A7C15ull));
  }
};
inline ConflationKey key_of(const PendingEntry& entry) {
  return {entry.subscription, entry.delivery.message.topic_hash};
}

// How an entry waits: in the lane `every`; or in `newest`, in order, in a cell, or fixed.
enum class Waits : std::uint8_t { every, adaptive, cell, fixed };

class PendingQueue {
 public:
  enum class Lane : std::uint8_t { every, newest };

  bool empty() const {
    return !lanes_.is_made() || (lanes_.read().every.empty() && lanes_.read().newest.empty() &&
                                 lanes_.read().weighted.empty());
  }
  std::size_t size() const { return every_size() + newest_size(); }
  std::uint64_t bytes() const { return every_bytes() + newest_bytes(); }

  // About what an entry takes besides its message: its place in a lane, and that in the table of
  // cells.
  static constexpr std::uint64_t entry_bytes = 176;
  std::uint64_t memory_bytes() const { return bytes() + size() * entry_bytes; }
  std::uint64_t newest_memory_bytes() const { return newest_bytes() + newest_size() * entry_bytes; }

  std::size_t every_size() const { return lanes_.read().every.size(); }
  std::uint64_t every_bytes() const { return lanes_.read().every_bytes; }
  std::size_t newest_size() const {
    return lanes_.read().newest.size() + lanes_.read().weighted.size();
  }
  std::uint64_t newest_bytes() const { return lanes_.read().newest_bytes; }

  void push_every(PendingEntry entry);
  // Removes the oldest entry of `every` and returns it.
  PendingEntry drop_oldest();

  // An adaptive subscription's message, in order; after a collapse it goes into its cell.
  // Returns true if a pending value was replaced.
  bool push_adaptive(PendingEntry entry);
  // A `latest` value: into its cell. Returns true if a pending value was replaced.
  bool push_cell(PendingEntry entry);
  // The same if its cell is there, and may be replaced; else false, and the entry is not taken.
  bool replace_cell(PendingEntry& entry);

  // A value of the same topic waits that may be replaced.
  bool has_cell(const PendingEntry& entry) const {
    if (newest_size() == 0) return false;
    const Lanes& lanes = lanes_.read();
    return lanes.cells.find(key_of(entry)) != nullptr ||
           lanes.weighted_cells.find(key_of(entry)) != nullptr;
  }
  // Values wait that are not replaced any more, or requests, of whatever topics.
  bool has_unreplaceable() const {
    const auto& newest = lanes_.read().newest;
    return !newest.empty() && (newest.front().entry.epoch != epoch() || fixed_size() > 0);
  }

  // A message that must not be conflated, in the order of `newest`: later values of its topic stay
  // behind it.
  void push_fixed(PendingEntry entry);
  // Entries at QoS 1 and 2: those that wait for the next connection, too.
  std::size_t lasting_size() const {
    return lanes_.read().every_lasting + lanes_.read().newest_lasting;
  }
  std::size_t fixed_size() const { return lanes_.read().fixed_count; }
  std::uint64_t fixed_bytes() const { return lanes_.read().fixed_bytes; }

  // Folds `newest` to one value per (subscription, topic), each at the position of its oldest, and
  // keeps folding until unfold(). Returns how many values were replaced.
  std::size_t collapse();
  bool collapsed() const { return lanes_.is_made() && lanes_.read().collapsed; }
  // Requires that `newest` is empty.
  void unfold() {
    MILLRACE_CHECK(newest_size() == 0);
    if (collapsed()) lanes_.write().collapsed = false;
  }
  // When the reader's socket was last reported to refuse bytes that wait; 0: never.
  std::int64_t blocked_at_ns() const { return lanes_.read().blocked_at_ns; }
  void note_blocked(std::int64_t now_ns) {
    if (collapsed() || !empty()) lanes_.write().blocked_at_ns = now_ns;
  }
  // Entries wait in order that a collapse would fold.
  bool has_adaptive() const { return lanes_.read().adaptive_count > 0; }
  // When the front of `newest` was put there, of what waits in order if any does; nothing if the lane
  // is empty.
  std::optional<std::int64_t> newest_since_ns() const;
  // The same of both lanes, whichever is the earlier.
  std::optional<std::int64_t> since_ns() const;

  // What was added since the last call, or taken if negative.
  struct Change {
    std::int64_t messages = 0;
    std::int64_t bytes = 0;
  };
  Change take_change();

  // Subscriptions changed: nothing that waits now is replaced or overtaken any more.
  void seal();
  // How often that was; what is put in now has that number.
  std::uint32_t epoch() const { return lanes_.read().epoch; }
  // At the start: it was so often in the life of the last process. It does not fall.
  void restore_epoch(std::uint32_t epoch);

  // The entry at the front of a lane, or null if the lane is empty or must wait for the other one.
  PendingEntry* front(Lane lane);
  PendingEntry pop(Lane lane);
  // What makes room in `newest`: its oldest entry, or, of those that have a weight, the last one.
  PendingEntry drop_of_newest();
  // `newest` may be served only under the small credit of `latest`: it holds cells.
  bool front_is_cell() const;

  // Everything, which takes no time: this queue is empty then.
  PendingQueue take_all();
  // Removes so many entries, and returns how many there were.
  std::size_t drop_some(std::size_t count);
  template <class F>
  void for_each(F&& f) const {
    for (const PendingEntry& entry : lanes_.read().every) f(entry);
    for (const Cell& cell : lanes_.read().newest) f(cell.entry);
    for (const auto& [turn, entry] : lanes_.read().weighted) f(entry);
  }

  // Those at QoS 1 and 2, and how each waits; in the order of their lanes.
  template <class F>
  void for_each_lasting(F&& f);
  // The numbers in the store (Delivery::stored) of entries that were replaced, or dropped by
  // drop_some(), since the last call.
  std::vector<std::uint32_t> take_replaced() {
    if (!lanes_.is_made() || lanes_.read().replaced.empty()) return {};
    return std::exchange(lanes_.write().replaced, {});
  }

  // Removes every entry for which `f` is true; for the end of a connection. Returns how many.
  template <class F>
  std::size_t remove_if(F&& f);

 private:
  bool replace_cell_of_epoch(PendingEntry& entry);
  PendingEntry* find_cell(const PendingEntry& entry);
  void append_newest(PendingEntry entry, bool as_cell);
  void add_weighted(PendingEntry entry);
  void take_weights_back();
  void index_all();

  struct Cell {
    PendingEntry entry;
    bool is_cell = false;
    bool is_fixed = false;
    std::uint32_t turn = 0;  // the low half of it
    bool is_adaptive() const { return !is_cell && !is_fixed; }
  };
  struct Lanes;
  static std::size_t lasting(const PendingEntry& entry) { return entry.delivery.qos > 0 ? 1 : 0; }
  static void forget(Lanes& lanes, const Cell& cell);  // it leaves `newest`
  static PendingEntry pop_newest(Lanes& lanes);
  using Weighted = std::multimap<std::uint64_t, PendingEntry>;  // by turn
  static PendingEntry take_weighted(Lanes& lanes, Weighted::iterator place);

  struct Lanes {
    // Boost's deque holds no memory while it is empty.
    boost::container::deque<PendingEntry> every;
    boost::container::deque<Cell> newest;
    std::uint64_t newest_base = 0;  // position of newest.front()
    // Position in `newest` of each cell that may be replaced.
    SplitTable<ConflationKey, std::uint64_t, ConflationKeyHash> cells;
    // Cells of a weight. While there are any, `newest` has neither fixed nor sealed entries.
    Weighted weighted;
    SplitTable<ConflationKey, Weighted::iterator, ConflationKeyHash> weighted_cells;
    std::uint64_t turn = 0;  // that is served now
    std::uint64_t every_bytes = 0;
    std::uint64_t newest_bytes = 0;  // and of `weighted`
    std::size_t every_lasting = 0;   // entries at QoS 1 and 2
    std::size_t newest_lasting = 0;  // the same
    std::size_t adaptive_count = 0;  // entries of `newest` that are neither cells nor fixed
    std::size_t fixed_count = 0;     // entries of `newest` that are fixed
    std::uint64_t fixed_bytes = 0;
    std::uint64_t told_messages = 0;  // by take_change()
    std::uint64_t told_bytes = 0;
    std::int64_t blocked_at_ns = 0;
    std::vector<std::uint32_t> replaced;  // see take_replaced()
    std::uint32_t epoch = 0;
    bool collapsed = false;

    // Whether counts and bytes agree with what is in the lanes, as far as a few comparisons tell.
    bool agree() const;
    // The next one of `newest` has a weight.
    bool weighted_is_next() const {
      return !weighted.empty() &&
             (newest.empty() || weighted.begin()->first < turn_of(newest.front()));
    }
    std::uint64_t turn_of(const Cell& cell) const {
      return turn + static_cast<std::uint64_t>(static_cast<std::int64_t>(
                        static_cast<std::int32_t>(cell.turn - static_cast<std::uint32_t>(turn))));
    }
    std::uint64_t turn_by(std::uint32_t weight) const { return turn + turns_per_weight / weight; }
  };

  static constexpr std::uint64_t turns_per_weight = 10'000;

  static_assert(sizeof(Cell) + 64 <= entry_bytes);

  Rare<Lanes> lanes_;  // nothing ever waits for most
};

template <class F>
void PendingQueue::for_each_lasting(F&& f) {
  if (lasting_size() == 0) return;
  Lanes& lanes = lanes_.write();
  for (PendingEntry& entry : lanes.every) {
    if (entry.delivery.qos > 0) f(entry, Waits::every);
  }
  for (Cell& cell : lanes.newest) {
    if (cell.entry.delivery.qos == 0) continue;
    f(cell.entry, cell.is_cell ? Waits::cell : cell.is_fixed ? Waits::fixed : Waits::adaptive);
  }
  for (auto& [turn, entry] : lanes.weighted) {
    if (entry.delivery.qos > 0) f(entry, Waits::cell);
  }
}

template <class F>
std::size_t PendingQueue::remove_if(F&& f) {
  const std::size_t before = size();
  if (before == 0) return 0;
  take_weights_back();
  Lanes& lanes = lanes_.write();
  auto& every = lanes.every;
  auto& newest = lanes.newest;
  const auto every_end = std::remove_if(every.begin(), every.end(), [&](PendingEntry& entry) {
    if (!f(entry)) return false;
    lanes.every_bytes -= entry.bytes();
    lanes.every_lasting -= lasting(entry);
    return true;
  });
  every.erase(every_end, every.end());
  const auto newest_end = std::remove_if(newest.begin(), newest.end(), [&](Cell& cell) {
    if (!f(cell.entry)) return false;
    forget(lanes, cell);
    return true;
  });
  newest.erase(newest_end, newest.end());
  index_all();
  MILLRACE_CHECK(lanes.agree());
  if (newest.empty()) lanes.collapsed = false;
  return before - size();
}

}  // namespace millrace::broker
