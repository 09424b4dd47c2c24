// Subscription: what one client, or one local ring or table, reads; and SubscriptionTable, those of
// a client by the names that it used for them.
//
// A subscription is one allocation: this header of 32 bytes, then the name, of which the filter is
// the end. What few have is kept apart (SubscriptionExtras).
//
// Threads: the processor's holder alone. A subscription lives at one address until it ends.
#pragma once

#include <cassert>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <string_view>

#include "core/broker/command.hpp"
#include "core/broker/outbox.hpp"
#include "core/broker/probe_table.hpp"
#include "core/broker/rare.hpp"
#include "core/broker/shape.hpp"
#include "core/broker/topic_hash.hpp"

namespace millrace::shm {
struct Feed;
}

namespace millrace::broker {

struct Session;
class SharedGroup;

struct SubscriptionExtras {
  SharedGroup* group = nullptr;   // null: not shared
  std::uint32_t group_place = 0;  // SharedGroup's: where it stands
  std::uint8_t group_list = 0;    // and in which list
  shm::Feed* feed = nullptr;      // a ring or table of local readers: then there is no session
  std::uint32_t identifier = 0;   // MQTT 5 Subscription Identifier; 0: none
  ShapeRef shape;                 // null: none
  std::shared_ptr<const TopicRules> rules;  // which of its topics may be read; null: all
  boost::intrusive_ptr<SubscriptionIdentifiers> identifiers;  // of `identifier`, shared

  std::uint32_t interval_ms() const { return shape ? shape->interval_ms : 0; }
  bool is_shaped_per_topic() const { return shape && shape->is_per_topic(); }
};

struct Subscription {
  // `name` as the client wrote it, prefixes and all, or the filter itself. Throws std::bad_alloc.
  static std::unique_ptr<Subscription> make(std::string_view name, std::string_view filter) {
    assert(name.ends_with(filter) && name.size() <= std::numeric_limits<std::uint16_t>::max());
    void* memory = ::operator new(sizeof(Subscription) + name.size());
    return std::unique_ptr<Subscription>(::new (memory) Subscription(name, filter));
  }
  // The allocation is larger than the type says.
  static void operator delete(void* memory) { ::operator delete(memory); }

  Subscription(const Subscription&) = delete;
  Subscription& operator=(const Subscription&) = delete;

  std::string_view name() const { return {reinterpret_cast<const char*>(this + 1), name_bytes_}; }
  // What is matched.
  std::string_view filter() const { return name().substr(name_bytes_ - filter_bytes_); }

  bool may_read(std::string_view topic) const {
    const SubscriptionExtras& has = extras.read();
    return !has.rules || has.rules->permit(topic);
  }

  Session* session = nullptr;
  Rare<SubscriptionExtras> extras;
  std::uint32_t number = 0;          // unique; the half of a conflation key
  std::uint32_t index_position = 0;  // SubscriptionIndex's
  std::uint8_t qos = 0;
  Mode mode = Mode::adaptive;
  bool no_local : 1 = false;
  bool retain_as_published : 1 = false;
  bool confirms : 1 = false;  // see SubscriptionRequest
  bool in_index : 1 = false;  // as all but the members of a SharedGroup

 private:
  Subscription(std::string_view name, std::string_view filter)
      : name_bytes_(static_cast<std::uint16_t>(name.size())),
        filter_bytes_(static_cast<std::uint16_t>(filter.size())) {
    name.copy(reinterpret_cast<char*>(this + 1), name.size());
  }

  const std::uint16_t name_bytes_;
  const std::uint16_t filter_bytes_;
};
static_assert(sizeof(Subscription) == 32, "there are millions of them");

class SubscriptionTable {
 public:
  SubscriptionTable() = default;
  SubscriptionTable(const SubscriptionTable&) = delete;
  SubscriptionTable& operator=(const SubscriptionTable&) = delete;
  ~SubscriptionTable() {
    for_each([](Subscription& subscription) { delete &subscription; });
  }

  std::uint32_t size() const { return table_.size(); }

  // Null: there is none.
  Subscription* find(std::string_view name) const {
    return table_.find(topic_hash(name), [&](const Subscription* subscription) {
      return subscription->name() == name;
    });
  }

  // One of another name than those which are in.
  Subscription& add(std::unique_ptr<Subscription> subscription) {
    table_.insert(subscription.get(), hash_of);
    return *subscription.release();
  }

  // One that is in.
  std::unique_ptr<Subscription> take(Subscription& subscription) {
    table_.erase(&subscription, hash_of);
    return std::unique_ptr<Subscription>(&subscription);
  }

  // See ProbeTable.
  template <class Visit>
  std::uint32_t for_some(std::uint32_t from, std::uint32_t count, Visit&& visit) const {
    return table_.for_some(from, count, [&](Subscription* subscription) { visit(*subscription); });
  }
  std::uint32_t slot_count() const { return table_.slot_count(); }

  // In the same order for the same life of the table.
  template <class Visit>
  void for_each(Visit&& visit) const {
    table_.for_each([&](Subscription* subscription) { visit(*subscription); });
  }

 private:
  static std::uint64_t hash_of(const Subscription* subscription) {
    return topic_hash(subscription->name());
  }

  ProbeTable<Subscription*> table_;
};

}  // namespace millrace::broker
