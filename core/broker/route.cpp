#include "core/broker/route.hpp"

#include "core/base/malloc_bytes.hpp"

namespace millrace::broker {

namespace {

// A smaller route is left alone: as a rule a topic's entry is larger.
constexpr std::uint64_t large_bytes = 16 * sizeof(RouteTarget);

// Of a vector of that capacity.
std::uint64_t memory_of(std::uint64_t capacity, std::uint64_t item_bytes) {
  return capacity == 0 ? 0 : base::malloc_bytes(capacity * item_bytes);
}

// A list of one is the subscription's; a longer one was made for the route.
std::uint64_t memory_of_identifiers(const RouteTarget& target) {
  if (!target.identifiers || target.identifiers->values.size() < 2) return 0;
  return base::malloc_bytes(sizeof(SubscriptionIdentifiers)) +
         memory_of(target.identifiers->values.capacity(), sizeof(std::uint32_t));
}

}  // namespace

std::uint64_t CachedRoute::Routed::memory_bytes() const {
  std::uint64_t bytes = base::malloc_bytes(sizeof(Routed)) +
                        memory_of(route.targets.capacity(), sizeof(RouteTarget)) +
                        memory_of(route.groups.capacity(), sizeof(RouteGroup)) +
                        memory_of(route.feeds.capacity(), sizeof(void*));
  if (place) bytes += base::malloc_bytes(sizeof(Place));
  for (const RouteTarget& target : route.targets) bytes += memory_of_identifiers(target);
  return bytes;
}

void CachedRoute::set(Route&& route, std::uint64_t version, RouteCache& cache,
                      const std::uint64_t& last_use) {
  forget(cache);
  if (route.empty()) {
    word_ = nothing_as_of(version);
    return;
  }
  auto* made = new Routed{version, std::move(route), nullptr};
  word_ = reinterpret_cast<std::uintptr_t>(made);
  cache.add(*made, last_use);
}

void CachedRoute::forget(RouteCache& cache) {
  if (Routed* const before = routed()) {
    cache.remove(*before);
    delete before;
  }
  word_ = never;
}

void RouteCache::add(CachedRoute::Routed& routed, const std::uint64_t& last_use) {
  if (routed.memory_bytes() >= large_bytes) {
    routed.place = std::make_unique<CachedRoute::Place>(routed, last_use);
    places_.push_back(*routed.place);
  }
  memory_bytes_ += routed.memory_bytes();
}

void RouteCache::remove(const CachedRoute::Routed& routed) {
  MILLRACE_CHECK(memory_bytes_ >= routed.memory_bytes());
  memory_bytes_ -= routed.memory_bytes();
}

std::size_t RouteCache::drop_to(std::uint64_t bytes_max, std::size_t count_max) {
  std::size_t dropped = 0;
  std::size_t spared = 0;
  while (memory_bytes_ > bytes_max && dropped < count_max && !places_.empty()) {
    CachedRoute::Place& place = places_.front();
    places_.pop_front();
    // A second chance, until it is the first again.
    if (place.seen_use != *place.last_use && spared < spared_max) {
      ++spared;
      place.seen_use = *place.last_use;
      places_.push_back(place);
      continue;
    }
    spared = 0;
    CachedRoute::Routed& routed = *place.routed;
    remove(routed);
    routed.version = CachedRoute::no_version;
    routed.route.targets = std::vector<RouteTarget>();  // with its capacity: `= {}` would keep that
    routed.route.groups = std::vector<RouteGroup>();
    routed.place.reset();
    memory_bytes_ += routed.memory_bytes();
    ++dropped;
  }
  return dropped;
}

}  // namespace millrace::broker
