#include "core/broker/topic_table.hpp"

#include <cassert>
#include <utility>

#include "core/base/malloc_bytes.hpp"
#include "core/broker/check.hpp"

namespace millrace::broker {

TopicTable::~TopicTable() {
  by_age_.clear();
  by_name_.clear();
}

Topic& TopicTable::obtain(std::uint64_t hash, std::string_view name, std::uint64_t sequence) {
  if (Topic* topic = find(hash, name)) return *topic;
  Topic& topic = *topics_.insert(Topic::make(name, hash, sequence)).first;
  by_name_.insert(topic);
  by_age_.push_back(topic);
  bytes_ += cost_bytes(topic);
  entry_bytes_ += entry_bytes(topic);
  assert(lists_agree());
  return topic;
}

// Each topic is in each list that it belongs to.
bool TopicTable::lists_agree() const {
  return by_name_.size() == topics_.size() && by_age_.size() <= topics_.size() &&
         by_age_.size() + retained_count_ >= topics_.size() && retained_bytes_ <= bytes_;
}

// What the topic takes of bytes_max: its values and, roughly, its entry.
std::uint64_t TopicTable::cost_bytes(const Topic& topic) {
  return sizeof(Topic) + topic.name().size() + value_bytes(topic);
}

std::uint64_t TopicTable::value_bytes(const Topic& topic) {
  const Buffer* const newest = topic.newest();
  std::uint64_t bytes = newest != nullptr ? newest->capacity() : 0;
  if (topic.retained && topic.retained != newest) bytes += topic.retained->capacity();
  return bytes;
}

// The object, and about two places in the index.
std::uint64_t TopicTable::entry_bytes(const Topic& topic) {
  return base::malloc_bytes(sizeof(Topic) + topic.name().size()) + 2 * sizeof(void*);
}

void TopicTable::store_newest(Topic& topic, BufferRef value) {
  MILLRACE_CHECK(value);
  MILLRACE_CHECK(topic.age_hook.is_linked() == is_evictable(topic));
  set_newest(topic, std::move(value));
  if (!is_evictable(topic)) {
    if (topic.age_hook.is_linked()) by_age_.erase(by_age_.iterator_to(topic));
  } else if (topic.age_hook.is_linked()) {
    by_age_.splice(by_age_.end(), by_age_, by_age_.iterator_to(topic));
  } else {
    by_age_.push_back(topic);
  }
}

void TopicTable::set_newest(Topic& topic, BufferRef value) {
  MILLRACE_CHECK(bytes_ >= cost_bytes(topic));
  bytes_ -= value_bytes(topic);
  topic.newest_slot.store(std::move(value));
  bytes_ += value_bytes(topic);
}

std::optional<PublishRefusal> TopicTable::retain_refusal(const Topic* topic, std::uint32_t bytes,
                                                         std::optional<std::string_view> user,
                                                         RetainedRoom beside) const {
  const bool has_one = topic != nullptr && topic->retained;
  if (!has_one && retained_count_ + beside.count >= limits_.count_max) {
    return PublishRefusal::slots_are_full;
  }
  const std::uint64_t before = has_one ? topic->retained->capacity() : 0;
  // What is no larger is taken at any time, so that a topic's value can always be brought up to date.
  if (bytes <= before) return std::nullopt;
  if (retained_bytes_ - before + beside.bytes + bytes > limits_.bytes_max) {
    return PublishRefusal::slots_are_full;
  }
  if (user && !has_room(*user, has_one ? topic : nullptr, bytes, beside)) {
    return PublishRefusal::user_is_full;
  }
  return std::nullopt;
}

// `topic`: that of the value which it replaces, or null. What comes beside may be somebody else's,
// but it is little.
bool TopicTable::has_room(std::string_view user, const Topic* topic, std::uint32_t bytes,
                          RetainedRoom beside) const {
  const RetainedOwners::Id owner = owners_.find(user);
  if (owner == RetainedOwners::nobody) {  // it would be the user's first
    return beside.count < limits_.user_count_max && beside.bytes + bytes <= limits_.user_bytes_max;
  }
  const bool is_own = topic != nullptr && topic->retained_owner == owner;
  if (!is_own && owners_.count(owner) + beside.count >= limits_.user_count_max) return false;
  const std::uint64_t before = is_own ? topic->retained->capacity() : 0;
  return owners_.bytes(owner) - before + beside.bytes + bytes <= limits_.user_bytes_max;
}

TopicTable::RetainedRoom TopicTable::room_of(const Topic& topic, std::uint32_t bytes) {
  const std::uint64_t before = topic.retained ? topic.retained->capacity() : 0;
  return {topic.retained ? 0u : 1u, bytes > before ? bytes - before : 0};
}

void TopicTable::store_retained(Topic& topic, BufferRef value, std::uint64_t sequence,
                                std::optional<std::string_view> user) {
  assert(sequence >= topic.retained_sequence && sequence <= topic.sequence);
  topic.retained_sequence = sequence;
  // Charged before the value that it replaces is released: a user whose only one it is stays known.
  RetainedOwners::Id owner = RetainedOwners::nobody;
  if (value) {
    if (user) owner = owners_.obtain(*user);
    owners_.charge(owner, value->capacity());
  }
  bytes_ -= cost_bytes(topic);
  if (topic.retained) {
    assert(retained_count_ > 0 && retained_bytes_ >= topic.retained->capacity());
    --retained_count_;
    retained_bytes_ -= topic.retained->capacity();
    owners_.release(topic.retained_owner, topic.retained->capacity());
  }
  topic.retained_owner = owner;
  topic.retained = std::move(value);
  if (topic.retained) {
    ++retained_count_;
    retained_bytes_ += topic.retained->capacity();
  }
  bytes_ += cost_bytes(topic);
  assert(retained_count_ <= topics_.size());
  const bool evictable = is_evictable(topic);
  if (evictable && !topic.age_hook.is_linked()) by_age_.push_back(topic);
  if (!evictable && topic.age_hook.is_linked()) by_age_.erase(by_age_.iterator_to(topic));
  assert(lists_agree());
}

std::size_t TopicTable::evict(std::size_t count_max) {
  std::size_t evicted = 0;
  while (evicted < count_max && over_limits() && evict_oldest(1) == 1) ++evicted;
  return evicted;
}

std::size_t TopicTable::evict_oldest(std::size_t count) {
  std::size_t evicted = 0;
  for (; evicted < count && !by_age_.empty(); ++evicted) {
    Topic& oldest = by_age_.front();
    if (oldest.batch_value != 0) break;
    if (oldest.newest_stored) newest_gone_(oldest);
    if (oldest.retained) {
      by_age_.pop_front();
      set_newest(oldest, oldest.retained);
    } else {
      erase(oldest);
    }
  }
  return evicted;
}

void TopicTable::erase(Topic& topic) {
  assert(!topic.retained && topic.batch_value == 0);
  assert(bytes_ >= cost_bytes(topic));
  if (topic.has_history) history_gone_(topic);
  bytes_ -= cost_bytes(topic);
  entry_bytes_ -= entry_bytes(topic);
  topic.cached_route.forget(routes_);
  if (topic.age_hook.is_linked()) by_age_.erase(by_age_.iterator_to(topic));
  by_name_.erase(by_name_.iterator_to(topic));
  topics_.erase(topic);  // deleted when no reader is at it
  assert(lists_agree() && (topics_.size() > 0 || bytes_ == 0));
}

Topic* TopicTable::next(std::string_view after, bool inclusive) {
  const auto found = inclusive ? by_name_.lower_bound(after) : by_name_.upper_bound(after);
  return found == by_name_.end() ? nullptr : &*found;
}

}  // namespace millrace::broker
