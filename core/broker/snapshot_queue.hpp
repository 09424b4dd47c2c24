// SnapshotQueue: the snapshots of a session's new subscriptions, of which the first is being sent.
//
// A snapshot is the stored values that a subscription begins with, sent one after the other as
// credit allows; its cursor says how far it has come.
//
// What always holds: a subscription has at most one cursor. Each call takes the same time however
// many wait: a SUBSCRIBE may name ten thousand filters, and each of the next ones a single one.
//
// Threads: the processor's holder alone.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <list>
#include <unordered_map>
#include <utility>

#include "core/broker/subscription.hpp"
#include "core/broker/topic_walk.hpp"

namespace millrace::broker {

struct SnapshotCursor {
  const Subscription* subscription = nullptr;  // the cursor ends with it
  TopicWalk walk;
  bool with_retained = true;  // Retain Handling
  bool with_newest = false;   // `latest`: also what is not retained
  // Publishes later than this one reach the subscription by themselves. At QoS 0 those alone do
  // that came after the client's last return: what it misses while it is away is not kept for it.
  std::uint64_t since = 0;
  std::uint64_t since_at_qos0 = 0;
  std::uint64_t newer_than = 0;  // SubscriptionRequest's
  // The same; it ends with the connection. And where it is: in the history of the topic that was
  // looked at last, behind that publish.
  std::uint32_t history = 0;
  bool in_history = false;
  std::uint64_t history_after = 0;
  std::uint32_t returns = 0;  // SnapshotQueue's: the client's, before it subscribed
};

class SnapshotQueue {
 public:
  bool empty() const { return in_order_.empty(); }
  std::size_t size() const { return in_order_.size(); }

  const SnapshotCursor& front() const { return in_order_.front(); }
  SnapshotCursor& front() {
    assert(!in_order_.empty());
    SnapshotCursor& cursor = in_order_.front();
    assert(cursor.since <= cursor.since_at_qos0);
    cursor.since_at_qos0 = std::max(cursor.since_at_qos0, returned_at_);
    if (cursor.returns != returns_) cursor.history = 0;  // but it may be in the midst of a topic
    return cursor;
  }
  void pop_front() {
    assert(!in_order_.empty());
    remove(of_.find(in_order_.front().subscription));
  }

  // Subscribing again begins again: ends the one that the subscription has.
  void add(SnapshotCursor cursor) {
    assert(cursor.subscription != nullptr);
    end(*cursor.subscription);
    cursor.returns = returns_;
    if (cursor.history > 0) ++history_count_;
    const auto place = in_order_.insert(in_order_.end(), std::move(cursor));
    of_.emplace(place->subscription, place);
    assert(of_.size() == in_order_.size());
  }
  // Of a subscription that need not have one.
  void end(const Subscription& subscription) {
    if (const auto found = of_.find(&subscription); found != of_.end()) remove(found);
  }

  // One of them has history.
  bool has_history() const { return history_count_ > 0; }

  // The client has come back; `sequence` is that of the last publish. No snapshot has history any more.
  void note_return(std::uint64_t sequence) {
    assert(sequence >= returned_at_);
    returned_at_ = sequence;
    ++returns_;
    history_count_ = 0;
  }

 private:
  using Order = std::list<SnapshotCursor>;
  using Places = std::unordered_map<const Subscription*, Order::iterator>;

  void remove(Places::iterator found) {
    assert(found != of_.end());
    const SnapshotCursor& cursor = *found->second;
    if (cursor.history > 0 && cursor.returns == returns_) --history_count_;
    in_order_.erase(found->second);
    of_.erase(found);
    assert(of_.size() == in_order_.size());
    if (of_.empty()) of_ = Places();  // its buckets, too
  }

  Order in_order_;
  Places of_;
  std::uint64_t returned_at_ = 0;
  std::uint32_t returns_ = 0;
  std::uint32_t history_count_ = 0;
};

}  // namespace millrace::broker
