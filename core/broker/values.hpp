// Values: what is known of each topic: its newest value, its retained value, and what a new
// subscription begins with, its snapshot.
//
// A message that was published is noted with its topic; at the end of the batch each topic's newest
// value is stored once, however often it was published in it.
//
// What always holds: publishes are numbered from 1 on, without gaps; outside a batch no topic has a
// value that is noted and not stored; a snapshot sees only what is stored.
//
// Threads: the processor's holder alone, but for topics(), which says itself what any thread may
// read.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "core/broker/batch.hpp"
#include "core/broker/buffer_releases.hpp"
#include "core/broker/command.hpp"
#include "core/broker/history.hpp"
#include "core/broker/local_side.hpp"
#include "core/broker/publish_context.hpp"
#include "core/broker/publish_refusal.hpp"
#include "core/broker/session.hpp"
#include "core/broker/topic_table.hpp"

namespace millrace::broker {

class Values {
 public:
  explicit Values(Batch& batch);

  void begin_batch() {
    MILLRACE_CHECK(noted_.empty() && last_topic_ == nullptr);
    snapshot_budget_ = batch_.limits().snapshot_topics_per_batch;
  }

  // A publish begins: gives it its number, and its topic.
  Topic& topic_of(const Message& message) {
    ++sequence_;
    // Publishes to one topic often come in a row.
    if (last_topic_ == nullptr || last_topic_->hash() != message.topic_hash ||
        last_topic_->name() != message.topic()) {
      last_topic_ = &topics_.obtain(message.topic_hash, message.topic(), sequence_);
    }
    MILLRACE_CHECK(last_topic_->sequence < sequence_);
    last_topic_->sequence = sequence_;
    return *last_topic_;
  }
  // Why there is no room for the message as its topic's retained value, of that user; nothing: there
  // is.
  std::optional<PublishRefusal> retain_refusal(const Message& message, std::string_view user) const;
  // A publish ends: takes over its message as the topic's newest value.
  void note(Topic& topic, PublishContext& context);

  // At the start: the retained value of its topic. False: there is no room for it. The store keeps
  // it, for a start with more room, until the topic is cleared or has another one.
  bool restore(BufferRef value, std::optional<std::string_view> user);

  // At the start: the newest value of its topic, after all retained ones.
  void restore_newest(BufferRef value);
  // They are not to be kept any more: out of the store.
  void forget_stored_newest();

  // Stores what was noted, here and in the tables of local readers. `local` may be null.
  void store_noted(LocalSide* local);

  // --- Snapshots ---

  // What `subscription` begins with: nothing if it is not to have a snapshot.
  std::optional<SnapshotCursor> begin_snapshot(const Subscription& subscription,
                                               const SubscriptionRequest& wanted,
                                               bool is_new) const;
  struct StoredValue {
    Message message;
    bool retained = false;
    bool of_history = false;
  };
  enum class Step : std::uint8_t { value, end, out_of_budget };
  // A session's turn to look at stored values: a part of the batch's budget. False: that is used up.
  [[nodiscard]] bool begin_turn();
  // The next value of a snapshot. Each topic that is looked at takes of the turn's budget, also
  // where nothing is to be sent.
  Step next(SnapshotCursor& cursor, StoredValue& value);

  // The number of the last publish.
  std::uint64_t sequence() const { return sequence_; }
  TopicTable& topics() { return topics_; }
  const TopicTable& topics() const { return topics_; }
  History& history() { return history_; }
  const History& history() const { return history_; }

 private:
  // Of one topic, in the current batch.
  struct Noted {
    Topic* topic = nullptr;
    Message newest;
    Message retained;
    bool clears_retained = false;
    bool retained_is_awaited = false;     // by somebody who waits for an acknowledgement
    std::uint64_t retained_sequence = 0;  // of the publish that set or cleared it
    TopicTable::RetainedRoom reserved;    // for `retained`
    std::optional<RightsRef> publisher;   // of `retained`; none: nobody
  };

  void store(Noted& noted, LocalSide* local);
  std::optional<PublishRefusal> retain_refusal(const Topic* topic, std::uint32_t bytes,
                                               std::optional<std::string_view> user,
                                               TopicTable::RetainedRoom beside) const;
  bool reserve(Noted& noted, std::uint32_t bytes, const PublishContext& context);
  // What is reserved in this batch, but for that topic. Null: all of it.
  TopicTable::RetainedRoom reserved_beside(const Topic* topic) const;
  void write_down(const Noted& noted);
  void write_newest_down(Topic& topic);
  bool value_of(const Topic& topic, const SnapshotCursor& cursor, StoredValue& value) const;
  void remember(Topic& topic, PublishContext& context);
  void evict_history();
  bool enter_history(const Topic& topic, SnapshotCursor& cursor) const;
  bool next_of_history(SnapshotCursor& cursor, StoredValue& value) const;
  static std::uint64_t value_sequence(const Topic& topic, const StoredValue& value);
  static bool is_from(const Subscription& subscription, const Buffer& value);

  Batch& batch_;
  TopicTable topics_;
  History history_;
  std::uint64_t sequence_ = 0;
  Topic* last_topic_ = nullptr;  // of the previous publish in this batch
  std::vector<Noted> noted_;
  TopicTable::RetainedRoom reserved_;  // in all of noted_
  // Of topics whose retained value the store has and this process has not: see restore().
  std::unordered_set<std::uint64_t> only_stored_;
  BufferReleases releases_;
  // How many topics may still be looked at for snapshots, in this batch and in this turn.
  std::uint32_t snapshot_budget_ = 0;
  std::uint32_t turn_budget_ = 0;  // never more than that
};

}  // namespace millrace::broker
