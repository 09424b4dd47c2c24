// RateLimits: the values that the rate limits of a session's subscriptions hold back, and when the
// next one may go; and those that are unchanged, until a heartbeat is due.
//
// There is one RateLimit for each (subscription, topic) that was sent something within its interval,
// or of which an unchanged value is held back; both their number and the bytes that are held back
// have a limit. At a limit a value is not held back: it may go too early, but it is not lost.
//
// What always holds: each RateLimit is due once; count and bytes are those of what is kept.
//
// Threads: the processor's holder alone.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

#include "core/broker/check.hpp"
#include "core/broker/pending.hpp"

namespace millrace::broker {

class RateLimits {
 public:
  bool empty() const { return count_ == 0; }
  std::uint64_t size() const { return count_; }
  std::uint64_t held_bytes() const { return held_bytes_; }
  // About what a RateLimit takes: its places in two tables, and an entry that may be held back.
  static constexpr std::uint64_t limit_bytes = 320;
  std::uint64_t memory_bytes() const { return held_bytes_ + count_ * limit_bytes; }
  // All of them end, and with them what they hold back.
  void clear() {
    of_ = decltype(of_)();  // their buckets, too
    due_.clear();
    count_ = held_bytes_ = 0;
  }
  // So many more than at the last call, or fewer.
  std::int64_t take_change() {
    told_held_bytes_ = held_bytes_;
    return static_cast<std::int64_t>(count_ - std::exchange(told_count_, count_));
  }
  // Neither their number nor what they hold back is another one than at the last call.
  bool is_told() const { return told_count_ == count_ && told_held_bytes_ == held_bytes_; }

  // Takes out what is held back of this key: something newer came.
  std::optional<PendingEntry> take_held(const ConflationKey& key) {
    RateLimit* const limit = find(key);
    return limit != nullptr ? release(*limit) : std::nullopt;
  }

  // False: the entry may go now. Otherwise it was taken, and is held back. Nothing of its key is.
  bool hold(PendingEntry& entry, std::int64_t now_ns, std::uint64_t bytes_max) {
    RateLimit* const limit = find(key_of(entry));
    if (limit == nullptr || now_ns >= limit->open_ns) return false;
    if (held_bytes_ + entry.bytes() > bytes_max) return false;
    set_due(*limit, key_of(entry), limit->open_ns);
    put(*limit, entry);
    return true;
  }

  // The entry is unchanged: it is taken, and held back until then and as long as its rate limit says.
  // False: there is no room for it. Nothing of its key is held back.
  bool hold_until(PendingEntry& entry, std::int64_t until_ns, std::uint64_t bytes_max,
                  std::uint64_t count_max) {
    if (held_bytes_ + entry.bytes() > bytes_max) return false;
    const ConflationKey key = key_of(entry);
    RateLimit* limit = find(key);
    if (limit == nullptr) {
      if (count_ >= count_max) return false;
      limit = &add(key, until_ns);
    } else {
      set_due(*limit, key, std::max(until_ns, limit->open_ns));
    }
    put(*limit, entry);
    return true;
  }

  // A value was sent: the next one may go at `next_ns`.
  void note_sent(const ConflationKey& key, std::int64_t next_ns, std::uint64_t count_max) {
    RateLimit* limit = find(key);
    if (limit == nullptr) {
      if (count_ >= count_max) return;
      limit = &add(key, next_ns);
    } else {
      set_due(*limit, key, next_ns);
    }
    limit->open_ns = next_ns;
    MILLRACE_CHECK(due_.size() == count_);
  }

  // When the first of them is over.
  std::optional<std::int64_t> next_ns() const {
    return due_.empty() ? std::nullopt : std::optional(due_.begin()->first);
  }

  // Ends those that are over, and calls visit(PendingEntry) with what they held back.
  template <class Visit>
  void end_due(std::int64_t now_ns, Visit&& visit) {
    while (!due_.empty() && due_.begin()->first <= now_ns) {
      const ConflationKey key = due_.begin()->second;
      const auto of_subscription = of_.find(key.subscription);
      assert(of_subscription != of_.end());
      const auto ended = of_subscription->second.find(key.topic_hash);
      assert(ended != of_subscription->second.end());
      std::optional<PendingEntry> held = release(ended->second);
      due_.erase(ended->second.due);
      of_subscription->second.erase(ended);
      if (of_subscription->second.empty()) of_.erase(of_subscription);
      --count_;
      assert(due_.size() == count_ && (count_ > 0 || held_bytes_ == 0));
      if (held) visit(std::move(*held));
    }
  }

  // Ends those of a subscription that ended, and calls visit(PendingEntry) with what they held back.
  template <class Visit>
  void forget(std::uint32_t subscription, Visit&& visit) {
    const auto found = of_.find(subscription);
    if (found == of_.end()) return;
    for (auto& [hash, limit] : found->second) {
      if (auto held = release(limit)) visit(std::move(*held));
      due_.erase(limit.due);
    }
    assert(count_ >= found->second.size());
    count_ -= found->second.size();
    of_.erase(found);
    assert(due_.size() == count_ && (count_ > 0 || held_bytes_ == 0));
  }

  // What is held back, in no order.
  template <class F>
  void for_each_held(F&& f) {
    for (auto& [subscription, limits] : of_) {
      for (auto& [hash, limit] : limits) {
        if (limit.held) f(*limit.held);
      }
    }
  }

  // Holds nothing back any more: calls visit(PendingEntry) with all that was. When the next ones may
  // go stays as it is.
  template <class Visit>
  void release_all(Visit&& visit) {
    for (auto& [subscription, limits] : of_) {
      for (auto& [hash, limit] : limits) {
        if (auto held = release(limit)) visit(std::move(*held));
      }
    }
  }

 private:
  using Due = std::multimap<std::int64_t, ConflationKey>;

  struct RateLimit {
    std::int64_t open_ns = 0;  // of the rate limit: not before
    std::optional<PendingEntry> held;
    Due::iterator due;
  };

  RateLimit* find(const ConflationKey& key) {
    const auto of_subscription = of_.find(key.subscription);
    if (of_subscription == of_.end()) return nullptr;
    const auto found = of_subscription->second.find(key.topic_hash);
    return found == of_subscription->second.end() ? nullptr : &found->second;
  }

  RateLimit& add(const ConflationKey& key, std::int64_t due_ns) {
    RateLimit& limit = of_[key.subscription][key.topic_hash];
    ++count_;
    limit.due = due_.emplace(due_ns, key);
    return limit;
  }
  void set_due(RateLimit& limit, const ConflationKey& key, std::int64_t due_ns) {
    if (limit.due->first == due_ns) return;
    due_.erase(limit.due);
    limit.due = due_.emplace(due_ns, key);
  }
  void put(RateLimit& limit, PendingEntry& entry) {
    assert(!limit.held);
    held_bytes_ += entry.bytes();
    limit.held = std::move(entry);
  }

  static_assert(sizeof(RateLimit) + 128 <= limit_bytes);

  std::optional<PendingEntry> release(RateLimit& limit) {
    assert(!limit.held || held_bytes_ >= limit.held->bytes());
    if (limit.held) held_bytes_ -= limit.held->bytes();
    return std::exchange(limit.held, std::nullopt);
  }

  // By subscription, then by topic, so that the end of a subscription visits its own entries alone.
  std::unordered_map<std::uint32_t, std::unordered_map<std::uint64_t, RateLimit>> of_;
  Due due_;
  std::uint64_t count_ = 0;
  std::uint64_t held_bytes_ = 0;
  std::uint64_t told_count_ = 0;  // by take_change()
  std::uint64_t told_held_bytes_ = 0;
};

}  // namespace millrace::broker
