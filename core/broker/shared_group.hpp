// SharedGroup: the members of `$share/name/filter` [MQTT-4.8.2], and whose turn it is.
//
// What always holds: a member stands in the one list that says whether a message may go to it now;
// joining, leaving and a change of standing cost the same however many members there are, and so
// does a turn, as long as most members may read the topic.
//
// Threads: the processor's holder alone.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/counter.hpp"
#include "core/broker/message.hpp"
#include "core/broker/subscription.hpp"

namespace millrace::broker {

struct RouteGroup;

class SharedGroup {
 public:
  SharedGroup(std::string_view name, std::string_view filter);

  const std::string& name() const { return name_; }
  // Stands for all members in the index, so that a match finds the group once.
  Subscription& in_index() { return *in_index_; }
  std::string_view filter() const { return in_index_->filter(); }
  bool empty() const;
  std::size_t member_count() const;

  void join(Subscription& member);
  void leave(Subscription& member);
  // The member's session has got or lost its connection, or its QoS is another one.
  void update(Subscription& member);

  // A live member takes the message, in turn; one that has room before one that is behind; an
  // offline one only if it will come back and the message waits for it [MQTT-4.8.2-4]. Null: none
  // can. Each member that is looked at counts as work.
  Subscription* take_turn(const RouteGroup& route, const Message& message, base::Counter& work);

 private:
  // Where a member stands; GroupPlace::list.
  enum class Standing : std::uint8_t { live, queueing, absent };
  static constexpr std::size_t standings = 3;
  struct List {
    std::vector<Subscription*> members;
    std::size_t next = 0;  // whose turn it is
  };

  List& list(Standing standing) { return lists_[static_cast<std::size_t>(standing)]; }
  static Standing standing_of(const Subscription& member);
  void put(Subscription& member, Standing standing);
  void take_out(Subscription& member);

  const std::string name_;
  std::unique_ptr<Subscription> in_index_;
  std::array<List, standings> lists_;
};

}  // namespace millrace::broker
