#include "core/broker/topic_table.hpp"

#include <cassert>
#include <utility>

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
  assert(lists_agree());
  return topic;
}

// Each topic is in each list that it belongs to.
bool TopicTable::lists_agree() const {
  return by_name_.size() == topics_.size() && by_age_.size() + retained_count_ == topics_.size() &&
         retained_bytes_ <= bytes_;
}

// What the topic takes of bytes_max: its values and, roughly, its entry.
std::uint64_t TopicTable::cost_bytes(const Topic& topic) {
  std::uint64_t bytes = sizeof(Topic) + topic.name().size();
  if (const Buffer* newest = topic.newest()) bytes += newest->capacity();
  if (topic.retained && topic.retained != topic.newest()) bytes += topic.retained->capacity();
  return bytes;
}

void TopicTable::store_newest(Topic& topic, BufferRef value) {
  MILLRACE_CHECK(value);
  MILLRACE_CHECK(bytes_ >= cost_bytes(topic));
  MILLRACE_CHECK(topic.age_hook.is_linked() == !topic.retained);
  bytes_ -= cost_bytes(topic);
  topic.newest_slot.store(std::move(value));
  bytes_ += cost_bytes(topic);
  if (topic.age_hook.is_linked()) {
    by_age_.splice(by_age_.end(), by_age_, by_age_.iterator_to(topic));
  }
}

bool TopicTable::can_retain(const Topic& topic, std::uint32_t bytes) const {
  if (topic.retained) return true;
  return retained_count_ < limits_.count_max && retained_bytes_ + bytes <= limits_.bytes_max;
}

void TopicTable::store_retained(Topic& topic, BufferRef value, std::uint64_t sequence) {
  assert(sequence >= topic.retained_sequence && sequence <= topic.sequence);
  topic.retained_sequence = sequence;
  bytes_ -= cost_bytes(topic);
  if (topic.retained) {
    assert(retained_count_ > 0 && retained_bytes_ >= topic.retained->capacity());
    --retained_count_;
    retained_bytes_ -= topic.retained->capacity();
  }
  topic.retained = std::move(value);
  if (topic.retained) {
    ++retained_count_;
    retained_bytes_ += topic.retained->capacity();
  }
  bytes_ += cost_bytes(topic);
  assert(retained_count_ <= topics_.size());
  const bool evictable = !topic.retained;
  if (evictable && !topic.age_hook.is_linked()) by_age_.push_back(topic);
  if (!evictable && topic.age_hook.is_linked()) by_age_.erase(by_age_.iterator_to(topic));
  assert(lists_agree());
}

std::size_t TopicTable::evict(std::size_t count_max) {
  std::size_t evicted = 0;
  while (evicted < count_max && over_limits()) {
    Topic& oldest = by_age_.front();
    if (oldest.batch_value != 0) break;
    erase(oldest);
    ++evicted;
  }
  return evicted;
}

void TopicTable::erase(Topic& topic) {
  assert(!topic.retained && topic.batch_value == 0);
  assert(bytes_ >= cost_bytes(topic));
  bytes_ -= cost_bytes(topic);
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
