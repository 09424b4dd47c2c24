#include "core/broker/history.hpp"

#include <algorithm>
#include <utility>

#include "core/broker/check.hpp"
#include "core/broker/topic_table.hpp"

namespace millrace::broker {

std::size_t History::Ring::count_up_to(std::uint64_t sequence) const {
  std::size_t low = 0;
  for (std::size_t high = count; low < high;) {
    const std::size_t middle = (low + high) / 2;
    if (at(middle).sequence <= sequence) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

const History::Ring* History::find(const Topic& topic) const {
  if (!topic.has_history) return nullptr;
  const auto found = rings_.find(&topic);
  MILLRACE_CHECK(found != rings_.end());
  return &found->second;
}

std::size_t History::size(const Topic& topic) const {
  const Ring* const ring = find(topic);
  return ring == nullptr ? 0 : ring->count;
}

const History::Entry* History::next(const Topic& topic, std::uint64_t after) const {
  const Ring* const ring = find(topic);
  if (ring == nullptr) return nullptr;
  const std::size_t place = ring->count_up_to(after);
  return place == ring->count ? nullptr : &ring->at(place);
}

const History::Entry* History::first(const Topic& topic, std::size_t count,
                                     std::uint64_t up_to) const {
  const Ring* const ring = find(topic);
  const std::size_t end = ring == nullptr ? 0 : ring->count_up_to(up_to);
  return end == 0 || count == 0 ? nullptr : &ring->at(end - std::min(end, count));
}

void History::charge(std::uint64_t bytes) {
  bytes_ += bytes;
  stats_.history_bytes.set(bytes_);
}

void History::release(std::uint64_t bytes) {
  MILLRACE_CHECK(bytes_ >= bytes);
  bytes_ -= bytes;
  stats_.history_bytes.set(bytes_);
}

History::Ring& History::obtain(Topic& topic) {
  Ring& ring = rings_[&topic];
  if (!topic.has_history) {
    MILLRACE_CHECK(ring.topic == nullptr);
    topic.has_history = true;
    ring.topic = &topic;
    by_age_.push_back(ring);
    entry_bytes_ += ring_bytes(ring);
    charge(ring_bytes(ring));
  } else {
    by_age_.splice(by_age_.end(), by_age_, by_age_.iterator_to(ring));
  }
  return ring;
}

void History::add(Topic& topic, std::uint64_t sequence, BufferRef value) {
  MILLRACE_CHECK(is_kept() && value);
  Ring& ring = obtain(topic);
  MILLRACE_CHECK(ring.count == 0 || ring.at(ring.count - 1).sequence < sequence);
  while (ring.count >= limits_.depth) pop(ring);
  if (ring.count == ring.places.size()) grow(ring);
  Entry& entry = ring.places[(ring.first + ring.count) % ring.places.size()];
  entry = {sequence, std::move(value)};
  ++ring.count;
  stats_.history_values.add();
  charge(value_bytes(entry));
}

// Most topics of most servers have few values: the places come as they are needed.
void History::grow(Ring& ring) {
  constexpr std::size_t places_min = 4;
  const std::size_t wanted = std::max(places_min, 2 * ring.places.size());
  std::vector<Entry> places(std::min<std::size_t>(wanted, limits_.depth));
  MILLRACE_CHECK(places.size() > ring.count);
  for (std::size_t i = 0; i < ring.count; ++i) {
    places[i] = std::move(ring.places[(ring.first + i) % ring.places.size()]);
  }
  const std::uint64_t before = ring_bytes(ring);
  ring.places = std::move(places);
  ring.first = 0;
  const std::uint64_t more = ring_bytes(ring) - before;
  entry_bytes_ += more;
  charge(more);
}

void History::pop(Ring& ring) {
  MILLRACE_CHECK(ring.count > 0);
  Entry& oldest = ring.places[ring.first];
  release(value_bytes(oldest));
  oldest = {};
  ring.first = static_cast<std::uint32_t>((ring.first + 1) % ring.places.size());
  --ring.count;
  stats_.history_values.subtract();
}

void History::forget(Topic& topic) {
  if (!topic.has_history) return;
  Ring& ring = rings_.find(&topic)->second;
  while (ring.count > 0) pop(ring);
  MILLRACE_CHECK(entry_bytes_ >= ring_bytes(ring));
  entry_bytes_ -= ring_bytes(ring);
  release(ring_bytes(ring));
  topic.has_history = false;
  by_age_.erase(by_age_.iterator_to(ring));
  rings_.erase(&topic);
  if (rings_.empty()) rings_ = Rings();  // its buckets, too
}

std::size_t History::evict(std::size_t count_max) {
  std::size_t evicted = 0;
  while (evicted < count_max && over_limits() && evict_oldest(1) == 1) ++evicted;
  return evicted;
}

std::size_t History::evict_oldest(std::size_t count) {
  std::size_t evicted = 0;
  for (; evicted < count && !by_age_.empty(); ++evicted) {
    Ring& ring = by_age_.front();
    if (ring.count > 1) {
      pop(ring);
    } else {
      forget(*ring.topic);
    }
  }
  return evicted;
}

std::uint64_t History::recount_entry_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& [topic, ring] : rings_) bytes += ring_bytes(ring);
  return bytes;
}

}  // namespace millrace::broker
