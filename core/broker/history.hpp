// History: the last values of each topic, for subscriptions that begin with them. A bounded ring for
// each topic that was published since it was switched on; without a depth there are none, and nobody
// asks for them.
//
// What always holds: a ring has no more than `depth` values once its topic is published again, of
// rising sequence; a topic's `has_history` says whether it has a ring, and both end together. Beyond
// bytes_max the oldest values of the topic that was published longest ago go first, in slices.
//
// Threads: the processor's holder alone.
#pragma once

#include <boost/intrusive/list.hpp>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "core/base/malloc_bytes.hpp"
#include "core/broker/buffer.hpp"
#include "core/broker/limits.hpp"
#include "core/broker/stats.hpp"

namespace millrace::broker {

class Topic;

class History {
 public:
  struct Entry {
    std::uint64_t sequence = 0;  // of the publish
    BufferRef value;             // copy_to_keep()'s
  };

  History(const HistoryLimits& limits, ProcessorStats& stats) : limits_(limits), stats_(stats) {}
  History(const History&) = delete;
  History& operator=(const History&) = delete;
  ~History() { by_age_.clear(); }

  bool is_kept() const { return limits_.depth > 0; }
  void set_limits(const HistoryLimits& limits) { limits_ = limits; }

  // While it is kept. `sequence`: it only grows.
  void add(Topic& topic, std::uint64_t sequence, BufferRef value);
  // It has none from now on; or it had none.
  void forget(Topic& topic);

  // Its values, the oldest first; 0: it has none.
  std::size_t size(const Topic& topic) const;
  // The first one later than that publish. Null: there is none.
  const Entry* next(const Topic& topic, std::uint64_t after) const;
  // The first one of the last `count` up to that publish. Null: there is none.
  const Entry* first(const Topic& topic, std::size_t count, std::uint64_t up_to) const;
  bool has(const Topic& topic, std::uint64_t sequence) const {
    const Entry* const entry = next(topic, sequence - 1);
    return entry != nullptr && entry->sequence == sequence;
  }

  bool over_limits() const { return bytes_ > bytes_max(); }
  // Until the limits hold, or so many values have gone. Returns how many have.
  std::size_t evict(std::size_t count_max);
  // So many, whatever the limits.
  std::size_t evict_oldest(std::size_t count);

  // Values and rings. A value that is its topic's newest, too, counts here as well.
  std::uint64_t bytes() const { return bytes_; }
  // Of the rings without the values; and the same, found by looking at all.
  std::uint64_t entry_bytes() const { return entry_bytes_; }
  std::uint64_t recount_entry_bytes() const;

 private:
  struct Ring : boost::intrusive::list_base_hook<> {
    std::vector<Entry> places;
    std::uint32_t first = 0;  // the oldest
    std::uint32_t count = 0;
    Topic* topic = nullptr;

    const Entry& at(std::size_t i) const { return places[(first + i) % places.size()]; }
    // How many are up to that publish.
    std::size_t count_up_to(std::uint64_t sequence) const;
  };
  using Rings = std::unordered_map<const Topic*, Ring>;

  std::uint64_t bytes_max() const { return is_kept() ? limits_.bytes_max : 0; }
  static std::uint64_t value_bytes(const Entry& entry) {
    return Buffer::memory_bytes(entry.value->capacity());
  }
  // The object with its node and its place in the table, and the places.
  static std::uint64_t ring_bytes(const Ring& ring) {
    return base::malloc_bytes(sizeof(Rings::value_type) + 2 * sizeof(void*)) + sizeof(void*) +
           (ring.places.empty() ? 0 : base::malloc_bytes(ring.places.size() * sizeof(Entry)));
  }
  const Ring* find(const Topic& topic) const;
  Ring& obtain(Topic& topic);
  void grow(Ring& ring);
  void pop(Ring& ring);
  void charge(std::uint64_t bytes);
  void release(std::uint64_t bytes);

  HistoryLimits limits_;
  ProcessorStats& stats_;
  Rings rings_;
  boost::intrusive::list<Ring> by_age_;  // the one that was published longest ago first
  std::uint64_t bytes_ = 0;
  std::uint64_t entry_bytes_ = 0;
};

}  // namespace millrace::broker
