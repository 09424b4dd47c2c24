#include "core/latest/reader_registry.hpp"

#include <algorithm>
#include <limits>
#include <thread>

namespace millrace::latest {

namespace {

/// The index at which this thread begins its search for a place: threads get different ones, so
/// that they rarely write to the same cache line.
std::size_t first_place() noexcept {
  static std::atomic<std::size_t> next{0};
  thread_local const std::size_t mine = next.fetch_add(1, std::memory_order_relaxed);
  return mine;
}

}  // namespace

ReaderRegistry::~ReaderRegistry() {
  for (const Retired& retired : retired_) retired.free(retired.object);
}

ReaderRegistry::Place& ReaderRegistry::take_place() const noexcept {
  for (std::size_t i = first_place();; ++i) {
    Place& place = places_[i % kPlaces];
    Era expected = kIdle;
    // This exchange and the load below are seq_cst, as are the increment in retire() and the load
    // in oldest_era(): either the writer sees this reader inside, or this reader sees the new era
    // and with it everything that was unlinked before. Acquire pairs with ~Guard() of the place's
    // former reader.
    if (place.era.load(std::memory_order_relaxed) == kIdle &&
        place.era.compare_exchange_strong(expected, kEntering, std::memory_order_seq_cst,
                                          std::memory_order_relaxed)) {
      place.era.store(era_.load(std::memory_order_seq_cst), std::memory_order_release);
      return place;
    }
    if ((i + 1) % kPlaces == first_place() % kPlaces) std::this_thread::yield();
  }
}

void ReaderRegistry::reclaim(std::size_t objects_max) {
  if (retired_.empty()) return;
  const Era oldest = oldest_era();
  while (objects_max-- > 0 && !retired_.empty() && retired_.front().era < oldest) {
    const Retired retired = retired_.front();
    retired_.pop_front();
    retired.free(retired.object);
  }
}

ReaderRegistry::Era ReaderRegistry::oldest_era() const noexcept {
  Era oldest = std::numeric_limits<Era>::max();
  for (const Place& place : places_) {
    const Era era = place.era.load(std::memory_order_seq_cst);
    if (era != kIdle) oldest = std::min(oldest, era);
  }
  return oldest;
}

}  // namespace millrace::latest
