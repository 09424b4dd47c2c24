// A bus: topics by name, for publishers and subscribers in one process.
//
// Thread contract: any thread. The bus must not be destroyed during a call on it.
// Invariants:
//   - one topic per name at a time; finding a topic takes no lock and allocates nothing;
//   - creating, removing and cleaning up topics takes the bus's mutex; publishing to an existing
//     topic does not. No subscriber is notified under the mutex, so a resumed coroutine may call
//     the bus;
//   - a topic that was removed is destroyed under the mutex, with its last value, once no reader of
//     the index can access it: T's destructor must not call the bus;
//   - a refused call returns an error, which cannot be used as if it were a value;
//   - subscribers and topics may outlive the bus; its destructor closes its topics, so no
//     subscriber waits for ever.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/name_hash.hpp"
#include "core/base/result.hpp"
#include "core/latest/ref.hpp"
#include "core/latest/slot_index.hpp"
#include "core/latest/subscriber.hpp"
#include "core/latest/topic.hpp"
#include "core/latest/wait_options.hpp"

namespace millrace::latest {

struct BusOptions {
  std::size_t topics_expected = 64;    // the index has room for so many from the start
  std::size_t topics_max = 1'048'576;  // further topics are refused
  WaitOptions waiting{};               // for threads that wait for a topic's next value

  /// For many topics and busy cores: room for 65,536 topics, and waiting threads sleep at once.
  [[nodiscard]] static BusOptions high_throughput() {
    return {.topics_expected = 65'536, .waiting = {.spin_max = std::chrono::nanoseconds(0)}};
  }
  /// For spare cores: threads that wait for a topic with more than some 500 values a second spin.
  [[nodiscard]] static BusOptions low_latency() {
    return {.waiting = {.spin_max = std::chrono::milliseconds(2)}};
  }
  /// Room for `topics` from the start.
  [[nodiscard]] static BusOptions with_capacity(std::size_t topics) {
    BusOptions options;
    options.topics_expected = topics;
    if (options.topics_max < topics) options.topics_max = topics;
    return options;
  }
};

template <typename T>
class Bus {
 public:
  using TopicRef = Ref<Topic<T>>;

  explicit Bus(BusOptions options = {})
      : options_(options), index_(options.topics_expected), refused_(Topic<T>::make("")) {
    refused_->close();
  }
  Bus(const Bus&) = delete;
  Bus& operator=(const Bus&) = delete;
  ~Bus() { close(); }

  [[nodiscard]] static Bus high_throughput() { return Bus(BusOptions::high_throughput()); }
  [[nodiscard]] static Bus low_latency() { return Bus(BusOptions::low_latency()); }
  [[nodiscard]] static Bus with_capacity(std::size_t topics) {
    return Bus(BusOptions::with_capacity(topics));
  }

  /// The topic of that name; created if there is none. Errors: too_many_topics, closed (the bus
  /// is).
  Result<TopicRef> topic(std::string_view name);
  /// The topic of that name. Error: not_found.
  [[nodiscard]] Result<TopicRef> find(std::string_view name) const {
    TopicRef found = find(base::hash_name(name), name);
    return found ? Result<TopicRef>(std::move(found)) : Error::not_found;
  }

  /// Publishes to the topic of that name; creates it if there is none. Errors: those of topic(),
  /// and of Topic::publish().
  template <typename Value>
  Result<Version> publish(std::string_view name, Value&& value);

  /// A subscriber to the topic of that name; creates the topic if there is none. If topic() would
  /// return an error, the subscriber is closed from the start.
  [[nodiscard]] Subscriber<T> subscribe(std::string_view name) {
    Result<TopicRef> found = topic(name);
    return Subscriber<T>(found ? *std::move(found) : refused_);
  }

  [[nodiscard]] std::size_t topic_count() const noexcept { return index_.size(); }
  [[nodiscard]] std::vector<std::string> topic_names() const;

  /// Closes the topic of that name and removes it: its subscribers get the value that they have not
  /// seen yet, then `closed`; a later call with this name creates a new topic. Error: not_found.
  /// If it throws std::bad_alloc, nothing has changed.
  Result<void> remove(std::string_view name);

  /// Removes the topics to which only the bus holds a reference, with their values; returns how
  /// many. If memory runs out, those that are not removed stay.
  std::size_t cleanup_unused_topics();

  /// Closes every topic; from then on no topic is created.
  void close() noexcept;

 private:
  struct DropRef {
    void operator()(Topic<T>* topic) const noexcept { slot_release_refs(topic, 1); }
  };
  using Index = SlotIndex<Topic<T>, DropRef>;

  [[nodiscard]] TopicRef find(std::uint64_t hash, std::string_view name) const {
    const auto reader = index_.reader();
    Topic<T>* found = reader.find(hash, name);
    // A sealed topic is about to be removed from the index: treated as not found.
    return found != nullptr && found->try_add_ref() ? TopicRef::adopt(found) : TopicRef();
  }
  Result<TopicRef> make(std::uint64_t hash, std::string_view name);

  const BusOptions options_;
  std::mutex writer_;  // held by the thread that changes the index
  bool closed_ = false;
  Index index_;
  const TopicRef refused_;
};

template <typename T>
Result<Ref<Topic<T>>> Bus<T>::topic(std::string_view name) {
  const std::uint64_t hash = base::hash_name(name);
  TopicRef found = find(hash, name);
  return found ? Result<TopicRef>(std::move(found)) : make(hash, name);
}

template <typename T>
Result<Ref<Topic<T>>> Bus<T>::make(std::uint64_t hash, std::string_view name) {
  const std::lock_guard guard(writer_);
  // A topic that is found under this lock is neither sealed nor removed.
  if (Topic<T>* made_meanwhile = index_.find(hash, name)) return TopicRef(made_meanwhile, true);
  if (closed_) return Error::closed;
  if (index_.size() >= options_.topics_max) return Error::too_many_topics;
  TopicRef made = Topic<T>::make(name, hash, options_.waiting);
  return TopicRef(index_.insert(typename Index::Owner(made.detach())).first, true);
}

template <typename T>
template <typename Value>
Result<Version> Bus<T>::publish(std::string_view name, Value&& value) {
  const std::uint64_t hash = base::hash_name(name);
  TopicRef awaited;
  typename Topic<T>::Stored stored{0, Error::not_found, false};
  {
    const auto reader = index_.reader();
    Topic<T>* found = reader.find(hash, name);
    if (found != nullptr) {
      // If the topic is being cleaned up at this moment, the value is lost with it: the publish
      // counts as before the clean-up, when the topic had no subscriber. A refused value is not
      // moved from.
      stored = found->store(std::forward<Value>(value));
      if (stored.error == Error::none && !stored.awaited) return stored.version;
      // Waking subscribers takes time, so it is done after the index's reader has left.
      if (stored.awaited) awaited = TopicRef(found, true);
    }
  }
  if (awaited) return awaited->notify_of(stored);
  if (stored.error == Error::empty_value) return stored.error;
  // No topic, or a closed one. A closed topic may be in the course of removal, and then make()
  // finds or creates its successor.
  TopicRef closed;
  for (;;) {
    const Result<TopicRef> made = make(hash, name);
    if (!made) return made.error();
    if (*made == closed) return Error::closed;
    stored = (*made)->store(std::forward<Value>(value));
    if (stored.error != Error::closed) return (*made)->notify_of(stored);
    closed = *made;  // removed at once, so there will be another one; or closed for good
  }
}

template <typename T>
Result<void> Bus<T>::remove(std::string_view name) {
  TopicRef removed;
  bool awaited = false;
  {
    const std::lock_guard guard(writer_);
    Topic<T>* const found = index_.find(base::hash_name(name), name);
    if (found == nullptr) return Error::not_found;
    removed = TopicRef(found, true);
    index_.erase(*found);  // first: it may throw, and then nothing has happened
    // Closed before another topic of that name can be created, which takes the mutex.
    awaited = removed->close_silently();
  }
  if (awaited) removed->waiters_.notify_all();
  return {};
}

template <typename T>
std::vector<std::string> Bus<T>::topic_names() const {
  std::vector<std::string> names;
  names.reserve(topic_count());
  index_.reader().for_each([&](const Topic<T>& topic) { names.emplace_back(topic.name()); });
  return names;
}

template <typename T>
std::size_t Bus<T>::cleanup_unused_topics() {
  const std::lock_guard guard(writer_);
  std::vector<Topic<T>*> unused;
  index_.for_each([&](Topic<T>& topic) {
    if (topic.ref_count() == 1) unused.push_back(&topic);
  });
  std::size_t removed = 0;
  for (Topic<T>* topic : unused) {
    if (!topic->seal_if_single()) continue;  // found meanwhile
    try {
      index_.erase(*topic);
    } catch (...) {
      topic->unseal();  // it stays, and can be found again
      throw;
    }
    ++removed;
  }
  index_.reclaim(removed);
  return removed;
}

template <typename T>
void Bus<T>::close() noexcept {
  {
    const std::lock_guard guard(writer_);
    closed_ = true;
  }
  // A reader keeps the topics alive, so this allocates nothing: the destructor cannot fail. Not
  // under the mutex, since a coroutine that is resumed may call the bus.
  for (IndexCursor cursor; !cursor.done();) {
    index_.reader().walk(cursor, [](Topic<T>& topic) { topic.close(); });
  }
}

}  // namespace millrace::latest
