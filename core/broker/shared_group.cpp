// Source: MQTT 5.0 section 4.8.2.
#include "core/broker/shared_group.hpp"

#include <algorithm>
#include <cassert>

#include "core/broker/check.hpp"
#include "core/broker/route.hpp"
#include "core/broker/session.hpp"

namespace millrace::broker {

namespace {

// So many live members are asked for one that is not behind. With as many that are, the group is
// slower than its stream, and whose turn it is may as well queue it.
constexpr std::size_t asked_max = 64;

}  // namespace

SharedGroup::SharedGroup(std::string_view name, std::string_view filter)
    : name_(name), in_index_(Subscription::make(filter, filter)) {
  in_index_->extras.write().group = this;
}

bool SharedGroup::empty() const {
  return std::ranges::all_of(lists_, [](const List& one) { return one.members.empty(); });
}

std::size_t SharedGroup::member_count() const {
  std::size_t count = 0;
  for (const List& one : lists_) count += one.members.size();
  return count;
}

SharedGroup::Standing SharedGroup::standing_of(const Subscription& member) {
  if (member.session->connected()) return Standing::live;
  return member.qos > 0 ? Standing::queueing : Standing::absent;
}

void SharedGroup::join(Subscription& member) {
  assert(member.extras.read().group == nullptr && member.filter() == filter());
  member.extras.write().group = this;
  put(member, standing_of(member));
}

void SharedGroup::leave(Subscription& member) {
  take_out(member);
  member.extras.write().group = nullptr;
}

void SharedGroup::update(Subscription& member) {
  assert(member.extras.read().group == this);
  const Standing standing = standing_of(member);
  if (member.extras.read().group_list == static_cast<std::uint8_t>(standing)) return;
  take_out(member);
  put(member, standing);
}

void SharedGroup::put(Subscription& member, Standing standing) {
  std::vector<Subscription*>& members = list(standing).members;
  SubscriptionExtras& extras = member.extras.write();
  extras.group_list = static_cast<std::uint8_t>(standing);
  extras.group_place = static_cast<std::uint32_t>(members.size());
  members.push_back(&member);
}

// The last one takes its place.
void SharedGroup::take_out(Subscription& member) {
  const SubscriptionExtras& extras = member.extras.read();
  assert(extras.group == this);
  std::vector<Subscription*>& members = lists_[extras.group_list].members;
  assert(members.at(extras.group_place) == &member);
  members.back()->extras.write().group_place = extras.group_place;
  members[extras.group_place] = members.back();
  members.pop_back();
}

Subscription* SharedGroup::take_turn(const RouteGroup& route, const Message& message,
                                     base::Counter& work) {
  MILLRACE_CHECK(route.group == this);
  const std::string_view topic = message.topic();
  // The first, from the list's next on, for which `takes` is true.
  const auto turn_of = [&](Standing standing, auto&& takes) -> Subscription* {
    auto& [members, next] = list(standing);
    const std::size_t count = members.size();
    Subscription* behind = nullptr;
    std::size_t at = 0;
    for (std::size_t i = 0; i < count && (behind == nullptr || i < asked_max); ++i) {
      const std::size_t here = (next + i) % count;
      work.add();
      Subscription* const member = members[here];
      MILLRACE_CHECK(standing_of(*member) == standing);
      if (member->session->ended || !route.may_read(*member, topic)) continue;
      const bool chosen = takes(*member);
      if (!chosen && behind != nullptr) continue;
      behind = member;
      at = here;
      if (chosen) break;
    }
    if (behind != nullptr) next = (at + 1) % count;
    return behind;
  };
  const auto has_room = [](const Subscription& one) { return one.session->pending.empty(); };
  if (Subscription* const live = turn_of(Standing::live, has_room)) return live;
  if (message.qos == 0) return nullptr;
  return turn_of(Standing::queueing, [](const Subscription&) { return true; });
}

}  // namespace millrace::broker
