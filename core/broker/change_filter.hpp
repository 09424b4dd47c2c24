// The change filter: does a value tell a reader anything that it was not sent before?
//
// A value is compared by what is left of it here: a number, or a hash of its text (keyed, so no
// publisher can make two of one hash). What is no number where a number is wanted is compared by
// its text, and so is a payload without the field, or one that is too large to look for it in.
//
// SentValues: what each topic of each of a session's subscriptions was sent last. Beyond a limit it
// learns no more topics, and their values go out though unchanged.
//
// Threads: functions: any. SentValues: the processor's holder alone.
#pragma once

#include <cassert>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <utility>

#include "core/broker/pending.hpp"
#include "core/broker/shape.hpp"

namespace millrace::broker {

struct ComparedValue {
  std::uint64_t hash = 0;  // of a text
  double number = 0;       // finite
  bool is_number = false;
};
ComparedValue compared_value(const ShapeFields& shape, std::span<const std::uint8_t> payload);

bool is_change(const ShapeFields& shape, const ComparedValue& sent, const ComparedValue& now);

class SentValues {
 public:
  struct Sent {
    ComparedValue value;
    std::int64_t at_ns = 0;
  };

  bool empty() const { return count_ == 0; }
  std::uint64_t size() const { return count_; }
  // About what one takes: its place in a table.
  static constexpr std::uint64_t sent_bytes = 112;
  std::uint64_t memory_bytes() const { return count_ * sent_bytes; }
  // So many more than at the last call, or fewer.
  std::int64_t take_change() {
    return static_cast<std::int64_t>(count_ - std::exchange(told_count_, count_));
  }
  bool is_told() const { return told_count_ == count_; }

  // Null: nothing that is known of.
  const Sent* find(const ConflationKey& key) const {
    const auto of_subscription = of_.find(key.subscription);
    if (of_subscription == of_.end()) return nullptr;
    const auto found = of_subscription->second.find(key.topic_hash);
    return found == of_subscription->second.end() ? nullptr : &found->second;
  }
  void note(const ConflationKey& key, const Sent& sent, std::uint64_t count_max) {
    if (find(key) == nullptr) {
      if (count_ >= count_max) return;
      ++count_;
    }
    of_[key.subscription][key.topic_hash] = sent;
  }
  // The subscription ended.
  void forget(std::uint32_t subscription) {
    const auto found = of_.find(subscription);
    if (found == of_.end()) return;
    assert(count_ >= found->second.size());
    count_ -= found->second.size();
    of_.erase(found);
  }
  void clear() {
    of_ = decltype(of_)();  // their buckets, too
    count_ = 0;
  }

 private:
  std::unordered_map<std::uint32_t, std::unordered_map<std::uint64_t, Sent>> of_;
  std::uint64_t count_ = 0;
  std::uint64_t told_count_ = 0;  // by take_change()

  static_assert(sizeof(Sent) + 64 <= sent_bytes);
};

}  // namespace millrace::broker
