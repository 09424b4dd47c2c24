// A bus: topics by name, for publishers and subscribers in one process.
//
// Who may call it: any thread. The bus is destroyed when no call on it is under way.
// Always holds: one topic per name at a time; finding a topic takes no lock and allocates nothing;
// creating one, or cleaning up, waits for other creators alone. Subscribers and topics may outlive
// the bus; its end closes its topics, so nobody is left waiting.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/name_hash.hpp"
#include "core/latest/ref.hpp"
#include "core/latest/slot_index.hpp"
#include "core/latest/subscriber.hpp"
#include "core/latest/topic.hpp"

namespace millrace::latest {

struct BusOptions {
  std::size_t topics_expected = 64;    // room made at once
  std::size_t topics_max = 1'048'576;  // further topics are refused
  unsigned wait_spins = 100;           // looks before a waiting thread sleeps

  /// Many topics and busy cores: room for 65,536, and who waits sleeps at once.
  [[nodiscard]] static BusOptions high_throughput() {
    return {.topics_expected = 65'536, .wait_spins = 0};
  }
  /// Cores to spare: who waits looks on for some ten microseconds before it sleeps.
  [[nodiscard]] static BusOptions low_latency() { return {.wait_spins = 4'000}; }
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

  /// The topic of that name, made if need be; empty if there is no room for another, or the bus is
  /// closed.
  [[nodiscard]] TopicRef topic(std::string_view name);
  /// The topic of that name, or empty.
  [[nodiscard]] TopicRef find(std::string_view name) const {
    return find(base::hash_name(name), name);
  }

  /// Publishes to the topic of that name, made if need be; 0 if it was refused.
  template <typename Value>
  Version publish(std::string_view name, Value&& value);

  /// Follows the topic of that name, made if need be; closed from the start if there is no room.
  [[nodiscard]] Subscriber<T> subscribe(std::string_view name) {
    TopicRef found = topic(name);
    return Subscriber<T>(found ? std::move(found) : refused_, options_.wait_spins);
  }

  [[nodiscard]] std::size_t topic_count() const noexcept { return index_.size(); }
  [[nodiscard]] std::vector<std::string> topic_names() const;

  /// Forgets the topics that nobody but the bus holds, with their values; returns how many.
  std::size_t cleanup_unused_topics();

  /// Closes every topic; no new ones are made.
  void close();

 private:
  struct DropRef {
    void operator()(Topic<T>* topic) const noexcept { slot_release_refs(topic, 1); }
  };
  using Index = SlotIndex<Topic<T>, DropRef>;

  [[nodiscard]] TopicRef find(std::uint64_t hash, std::string_view name) const {
    const auto reader = index_.reader();
    Topic<T>* found = reader.find(hash, name);
    // A sealed topic is on its way out of the index: as good as gone.
    return found != nullptr && found->try_add_ref() ? TopicRef::adopt(found) : TopicRef();
  }
  [[nodiscard]] TopicRef make(std::uint64_t hash, std::string_view name);

  const BusOptions options_;
  std::mutex writer_;  // held by whoever changes the index
  bool closed_ = false;
  Index index_;
  const TopicRef refused_;
};

template <typename T>
Ref<Topic<T>> Bus<T>::topic(std::string_view name) {
  const std::uint64_t hash = base::hash_name(name);
  TopicRef found = find(hash, name);
  return found ? found : make(hash, name);
}

template <typename T>
Ref<Topic<T>> Bus<T>::make(std::uint64_t hash, std::string_view name) {
  const std::lock_guard guard(writer_);
  // What is in the index under this lock is not sealed.
  if (Topic<T>* made_meanwhile = index_.find(hash, name)) return TopicRef(made_meanwhile, true);
  if (closed_ || index_.size() >= options_.topics_max) return TopicRef();
  return TopicRef(index_.insert(typename Index::Owner(Topic<T>::make(name, hash).detach())).first,
                  true);
}

template <typename T>
template <typename Value>
Version Bus<T>::publish(std::string_view name, Value&& value) {
  const std::uint64_t hash = base::hash_name(name);
  TopicRef awaited;
  typename Topic<T>::Stored stored{0, false};
  {
    const auto reader = index_.reader();
    Topic<T>* found = reader.find(hash, name);
    if (found != nullptr) {
      // In vain if the topic is just being cleaned up; then this came before, and nobody was there.
      stored = found->store(std::forward<Value>(value));
      if (!stored.awaited) return stored.version;
      awaited = TopicRef(found, true);  // waking others takes time: not while inside the index
    }
  }
  if (awaited) return awaited->notify_of(stored);
  const TopicRef made = make(hash, name);
  return made ? made->publish(std::forward<Value>(value)) : 0;
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
    if (topic.seal_if_single()) unused.push_back(&topic);
  });
  for (Topic<T>* topic : unused) index_.erase(*topic);
  index_.reclaim(unused.size());
  return unused.size();
}

template <typename T>
void Bus<T>::close() {
  const std::lock_guard guard(writer_);
  closed_ = true;
  index_.for_each([](Topic<T>& topic) { topic.close(); });
}

}  // namespace millrace::latest
