// TopicTable: every topic that was published, with its newest value, its retained value and its
// cached route.
//
// A stored value is a copy of its own (Message::copy_to_keep), kept as one pointer. Topics are also
// ordered by name, so that a filter's walk is a range and its place a name. Within count_max and
// bytes_max the least recently published topic makes room: it goes if it is not retained; else its
// newest value gives way to the retained one.
//
// Threads: the processor's holder, but for what a Reader shows: the names, and the newest values
// through their slots. Readers never make the processor wait (core/latest/slot_index.hpp). A thread
// that wants the next value of a topic may wait for it; while none does, that costs the processor
// one operation a batch. While some do, the processor takes the spin lock of a list of waiters for
// each topic that it stored, under which such a thread enters or leaves that list, and may have to
// wait for those few instructions (longer if that thread is off its core just then).
#pragma once

#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string_view>
#include <utility>

#include "core/broker/buffer.hpp"
#include "core/broker/limits.hpp"
#include "core/broker/publish_refusal.hpp"
#include "core/broker/retained_owners.hpp"
#include "core/broker/route.hpp"
#include "core/latest/slot.hpp"
#include "core/latest/slot_index.hpp"
#include "core/latest/wait_list.hpp"

namespace millrace::broker {

// One allocation: the object, then its name.
class Topic {
 public:
  // Versions of the newest value count from `start`: more than a topic of that name had before.
  // Throws std::bad_alloc.
  static std::unique_ptr<Topic> make(std::string_view name, std::uint64_t hash,
                                     latest::Version start) {
    void* memory = ::operator new(sizeof(Topic) + name.size());
    return std::unique_ptr<Topic>(new (memory) Topic(name, hash, start));
  }
  Topic(const Topic&) = delete;
  Topic& operator=(const Topic&) = delete;

  // Any thread.
  std::string_view name() const { return {reinterpret_cast<const char*>(this + 1), name_bytes_}; }
  std::uint64_t hash() const { return hash_; }
  latest::Slot<BufferRef> newest_slot;  // empty until the end of the batch that made the topic

  // The processor.
  Buffer* newest() const { return newest_slot.newest(); }
  BufferRef retained;                   // often the same
  std::uint64_t sequence = 0;           // of the last publish, over all topics
  std::uint64_t retained_sequence = 0;  // of the publish that set or cleared `retained` last
  CachedRoute cached_route;             // Router's
  boost::intrusive::list_member_hook<> age_hook;  // linked: may be evicted
  boost::intrusive::set_member_hook<boost::intrusive::optimize_size<true>> name_hook;
  std::uint32_t batch_value = 0;  // 1 + its place among the batch's values; 0: none
  RetainedOwners::Id retained_owner = RetainedOwners::nobody;
  bool newest_stored = false;  // Values': the store has, or is to have, the newest value
  bool has_history = false;    // History's

  // What deletes a topic goes by this size, not by that of the allocation.
  static void operator delete(void* memory) { ::operator delete(memory); }

 private:
  Topic(std::string_view name, std::uint64_t hash, latest::Version start)
      : newest_slot(start), name_bytes_(static_cast<std::uint16_t>(name.size())), hash_(hash) {
    name.copy(reinterpret_cast<char*>(this + 1), name.size());
  }
  static void* operator new(std::size_t, void* memory) { return memory; }

  const std::uint16_t name_bytes_;
  const std::uint64_t hash_;
};

class TopicTable {
 public:
  explicit TopicTable(const TopicLimits& limits) : limits_(limits) {}
  ~TopicTable();

  using Index = latest::SlotIndex<Topic>;
  // Any thread: look-ups and walks beside the processor.
  Index::Reader reader() const { return topics_.reader(); }

  // Any thread: waits for the next value that is stored for a topic of this hash, which need not be
  // there yet. Joins unless `news()` says that there is no need to; then false. A waiter may be
  // woken for another topic of the same hash, so it looks again.
  template <typename News>
  [[nodiscard]] bool wait(std::uint64_t hash, latest::Waiter& waiter, News&& news) const {
    return waiters_.wait(wait_key(hash), waiter, news);
  }
  // False: it was out already, and has been, or is just being, notified.
  bool leave(std::uint64_t hash, latest::Waiter& waiter) const {
    return waiters_.leave(wait_key(hash), waiter);
  }
  // The processor, once after the stores of a batch; then, if so, for each topic that it stored.
  [[nodiscard]] bool anyone_waits() const { return waiters_.anyone_waits(); }
  void notify(const Topic& topic) { waiters_.notify(wait_key(topic.hash())); }

  Topic* find(std::uint64_t hash, std::string_view name) const { return topics_.find(hash, name); }
  // `sequence` is that of the publish: it only grows.
  Topic& obtain(std::uint64_t hash, std::string_view name, std::uint64_t sequence);

  // Stores the newest value and makes the topic the most recently published one.
  void store_newest(Topic& topic, BufferRef value);
  // Why there is no room for a retained value of that size, in place of the one that the topic has
  // (null: it has none, or there is no such topic yet), beside `beside` that are to be stored.
  // Nothing: there is.
  struct RetainedRoom {
    std::size_t count = 0;
    std::uint64_t bytes = 0;
  };
  // Without `user` it is the server's own, to which the limits for users do not apply.
  std::optional<PublishRefusal> retain_refusal(const Topic* topic, std::uint32_t bytes,
                                               std::optional<std::string_view> user,
                                               RetainedRoom beside) const;
  // What a retained value of that size would take of the room, beyond what the topic has.
  static RetainedRoom room_of(const Topic& topic, std::uint32_t bytes);
  // Null clears it. `user`: whose it is; none: nobody's.
  void store_retained(Topic& topic, BufferRef value, std::uint64_t sequence,
                      std::optional<std::string_view> user = {});
  // Whose the retained value is; none: nobody's, or there is none.
  std::optional<std::string_view> retained_user(const Topic& topic) const {
    return owners_.user(topic.retained_owner);
  }

  // Evicts until the limits hold, `count_max` topics or values at most; returns how many went. What
  // has a value in the current batch stays.
  std::size_t evict(std::size_t count_max);
  // Evicts so many, whatever the limits.
  std::size_t evict_oldest(std::size_t count);
  // There is something to evict.
  bool over_limits() const {
    return (topics_.size() > limits_.count_max || bytes_ > limits_.bytes_max) && !by_age_.empty();
  }

  // Called where a newest value that is `newest_stored` goes to make room. Before the first topic.
  void set_newest_gone(std::function<void(Topic&)> gone) { newest_gone_ = std::move(gone); }

  // Called where a topic that `has_history` goes. Before the first topic.
  void set_history_gone(std::function<void(Topic&)> gone) { history_gone_ = std::move(gone); }

  // The first topic whose name is greater than `after` (or not less, if `inclusive`).
  Topic* next(std::string_view after, bool inclusive);

  std::size_t size() const { return topics_.size(); }
  std::uint64_t bytes() const { return bytes_; }
  // Without the retained values: of the topics, and the values that could make room.
  std::uint64_t unretained_bytes() const { return bytes_ - retained_bytes_; }
  // Of the topics, without their values and routes; and of one.
  std::uint64_t entry_bytes() const { return entry_bytes_; }
  static std::uint64_t entry_bytes(const Topic& topic);
  RouteCache& routes() { return routes_; }
  const RouteCache& routes() const { return routes_; }
  std::size_t retained_count() const { return retained_count_; }
  void set_limits(const TopicLimits& limits) { limits_ = limits; }

 private:
  struct ByName {
    using type = std::string_view;
    type operator()(const Topic& topic) const { return topic.name(); }
  };
  using AgeList = boost::intrusive::list<
      Topic, boost::intrusive::member_hook<Topic, decltype(Topic::age_hook), &Topic::age_hook>>;
  using NameSet = boost::intrusive::set<
      Topic, boost::intrusive::member_hook<Topic, decltype(Topic::name_hook), &Topic::name_hook>,
      boost::intrusive::key_of_value<ByName>>;

  // A name's hash outlives its topic: one that is evicted and comes back wakes its waiters.
  static const void* wait_key(std::uint64_t hash) { return reinterpret_cast<const void*>(hash); }
  static std::uint64_t cost_bytes(const Topic& topic);
  static std::uint64_t value_bytes(const Topic& topic);
  bool has_room(std::string_view user, const Topic* topic, std::uint32_t bytes,
                RetainedRoom beside) const;
  static bool is_evictable(const Topic& topic) {
    return !topic.retained || topic.retained != topic.newest();
  }
  void set_newest(Topic& topic, BufferRef value);
  void erase(Topic& topic);
  bool lists_agree() const;

  TopicLimits limits_;
  RouteCache routes_;
  RetainedOwners owners_;
  Index topics_;
  mutable latest::WaitRoom waiters_;
  NameSet by_name_;
  std::function<void(Topic&)> newest_gone_;
  std::function<void(Topic&)> history_gone_;
  AgeList by_age_;  // those that can make room, the least recently published first
  std::uint64_t bytes_ = 0;
  std::uint64_t entry_bytes_ = 0;
  std::uint64_t retained_bytes_ = 0;
  std::size_t retained_count_ = 0;
};

}  // namespace millrace::broker
