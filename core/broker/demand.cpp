#include "core/broker/demand.hpp"

#include <algorithm>
#include <utility>

#include "core/broker/check.hpp"
#include "core/broker/command.hpp"
#include "core/broker/session.hpp"
#include "protocol/topic.hpp"

namespace millrace::broker {

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

bool Demand::step(std::uint32_t places) {
  bool all_counted = true;
  for (Watch& watch : watches_) {
    const SubscriptionIndex::Place end = index_.place_count();
    if (!watch.has_told && watch.counted_to < end) {
      const auto to = std::min<std::uint64_t>(end, std::uint64_t{watch.counted_to} + places);
      for (; watch.counted_to < to; ++watch.counted_to) {
        index_.visit(watch.counted_to, [&](const Subscription& one) { watch.count(one, 1); });
      }
    }
    if (!watch.has_told && watch.counted_to < index_.place_count()) {
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

void Demand::added(SubscriptionIndex::Place place, const Subscription& subscription) {
  count(place, subscription, 1);
}

void Demand::removed(SubscriptionIndex::Place place, const Subscription& subscription) {
  count(place, subscription, std::uint64_t{0} - 1);
}

void Demand::count(SubscriptionIndex::Place place, const Subscription& subscription,
                   std::uint64_t by) {
  for (Watch& watch : watches_) {
    if (place < watch.counted_to) watch.count(subscription, by);
  }
  at_rest_ = false;
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
