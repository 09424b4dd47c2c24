#include "core/broker/demand.hpp"

#include <utility>
#include <vector>

#include "core/broker/check.hpp"
#include "core/broker/command.hpp"
#include "core/broker/session.hpp"
#include "protocol/topic.hpp"

namespace millrace::broker {

namespace {
constexpr std::uint64_t minus_one = UINT64_MAX;  // what is counted wraps around
}

Demand::~Demand() {
  if (!watches_.empty()) index_.observe(nullptr);
}

void Demand::watch(WatchRequest request) {
  std::erase_if(watches_, [&](const Watch& watch) { return watch.origin == request.origin; });
  if (!request.filters.empty()) {
    Watch& watch = watches_.emplace_back();
    watch.origin = request.origin;
    watch.tell = std::move(request.tell);
    for (std::string& filter : request.filters) watch.filters.push_back({std::move(filter)});
  }
  filters_ = 0;
  for (const Watch& watch : watches_) filters_ += watch.filters.size();
  index_.observe(watches_.empty() ? nullptr : this);
  at_rest_ = watches_.empty();
}

bool Demand::step(std::uint32_t budget) {
  bool all_counted = true;
  for (Watch& watch : watches_) {
    if (!watch.has_told && !watch.count_some(index_, budget)) {
      all_counted = false;
      continue;
    }
    // Whatever place the index gives out from now on is counted.
    watch.counted_to = SubscriptionIndex::no_place;
    watch.tell_changes();
  }
  at_rest_ = all_counted;
  return !all_counted;
}

// In a place that is counted in part it comes after those that are counted.
void Demand::added(SubscriptionIndex::Place place, const Subscription& subscription) {
  for (Watch& watch : watches_) {
    if (place < watch.counted_to) watch.count(subscription, 1);
  }
  at_rest_ = false;
}

void Demand::removed(SubscriptionIndex::Place place, const Subscription& subscription) {
  for (Watch& watch : watches_) {
    if (place < watch.counted_to) {
      watch.count(subscription, minus_one);
    } else if (place == watch.counted_to) {
      watch.remove_from_counted(index_.all_at(place), subscription);
    }
  }
  at_rest_ = false;
}

bool Demand::Watch::count_some(const SubscriptionIndex& index, std::uint32_t budget) {
  for (; counted_to < index.place_count(); ++counted_to, counted_in = 0) {
    const auto there = index.all_at(counted_to);
    for (; counted_in < there.size() && budget > 0; --budget) count(*there[counted_in++], 1);
    if (budget == 0) return false;
    --budget;
  }
  return true;
}

// The last one there takes its place: if that was not counted yet, it stands among the counted now.
void Demand::Watch::remove_from_counted(std::span<Subscription* const> there,
                                        const Subscription& gone) {
  if (gone.index_position >= counted_in) return;
  count(gone, minus_one);
  if (counted_in < there.size()) {
    count(*there.back(), 1);
  } else {
    --counted_in;
  }
}

bool Demand::Watch::concerns(const Subscription& subscription) const {
  return subscription.session == nullptr || subscription.session->origin != origin;
}

void Demand::Watch::count(const Subscription& subscription, std::uint64_t by) {
  if (!concerns(subscription)) return;
  for (Watched& one : filters) {
    if (!protocol::overlaps(one.filter, subscription.filter())) continue;
    one.subscriptions += by;
    MILLRACE_CHECK(one.subscriptions <= INT64_MAX);
  }
}

void Demand::Watch::tell_changes() {
  std::vector<bool> wanted;
  for (const Watched& one : filters) wanted.push_back(one.subscriptions > 0);
  if (std::exchange(has_told, true) && wanted == told) return;
  told = wanted;
  tell(std::move(wanted));
}

}  // namespace millrace::broker
