// Configuration and statistics shared by the queues.
//
// Thread contract: value types and pure functions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/result.hpp"

namespace millrace::queue {

/// The largest max_capacity that a configuration may ask for.
inline constexpr std::size_t kCapacityMax = std::size_t{1} << 32;

using base::describe;
using base::Error;
using base::Result;

/// An aggregate, whose capacities stand in ascending order. It can also be filled by name:
///
///     QueueConfig().with_initial_capacity(64).with_max_capacity(4096)
///
/// A setter does not adjust the other values: validate() checks that they fit together.
struct QueueConfig {
  std::size_t min_capacity = 512;
  std::size_t initial_capacity = 1024;
  std::size_t max_capacity = 1'048'576;
  double growth_factor = 2.0;      // multiplies the capacity when a push finds it used up
  double shrink_threshold = 0.25;  // if less than this share is used, the capacity is divided again

  constexpr QueueConfig& with_min_capacity(std::size_t slots) {
    min_capacity = slots;
    return *this;
  }
  constexpr QueueConfig& with_initial_capacity(std::size_t slots) {
    initial_capacity = slots;
    return *this;
  }
  constexpr QueueConfig& with_max_capacity(std::size_t slots) {
    max_capacity = slots;
    return *this;
  }
  constexpr QueueConfig& with_growth_factor(double factor) {
    growth_factor = factor;
    return *this;
  }
  constexpr QueueConfig& with_shrink_threshold(double share) {
    shrink_threshold = share;
    return *this;
  }
};

/// Success, or the rule that `config` violates.
constexpr Result<void> validate(const QueueConfig& config) {
  if (config.min_capacity == 0) return Error::min_capacity_zero;
  if (config.min_capacity > config.max_capacity) return Error::min_above_max;
  if (config.max_capacity > kCapacityMax) return Error::max_too_large;
  if (config.initial_capacity < config.min_capacity ||
      config.initial_capacity > config.max_capacity) {
    return Error::initial_out_of_range;
  }
  // Written so that NaN fails both.
  if (!(config.growth_factor > 1.0 && config.growth_factor <= 1e9)) {
    return Error::growth_factor_too_small;
  }
  if (!(config.shrink_threshold > 0.0 && config.shrink_threshold < 1.0)) {
    return Error::shrink_threshold_out_of_range;
  }
  return {};
}

/// The capacity after one step up or down; shared, so that both elastic queues resize in the same
/// way.
constexpr std::size_t grown_capacity(const QueueConfig& config, std::size_t capacity) {
  const double grown = static_cast<double>(capacity) * config.growth_factor;
  if (grown >= static_cast<double>(config.max_capacity)) return config.max_capacity;
  const auto next = static_cast<std::size_t>(grown);
  return next > capacity ? next : capacity + 1;
}

constexpr std::size_t shrunk_capacity(const QueueConfig& config, std::size_t capacity) {
  const auto next = static_cast<std::size_t>(static_cast<double>(capacity) / config.growth_factor);
  return next > config.min_capacity ? next : config.min_capacity;
}

/// The capacity after as many steps down as shrink_threshold allows for a queue that holds `used`
/// items at most; `capacity` itself if it allows none.
constexpr std::size_t shrunk_capacity_for(const QueueConfig& config, std::size_t capacity,
                                          std::size_t used) {
  while (capacity > config.min_capacity) {
    const double threshold = config.shrink_threshold * static_cast<double>(capacity);
    if (static_cast<double>(used) >= threshold) break;
    const std::size_t shrunk = shrunk_capacity(config, capacity);
    capacity = shrunk > used ? shrunk : used;
  }
  return capacity;
}

struct QueueStats {
  std::uint64_t pushed = 0;  // items accepted since creation
  std::uint64_t popped = 0;  // items taken out, cleared ones included
  // Pushes refused because the queue was full: by try_push at once, by push_for at its time-out; a
  // batch that was refused or only pushed in part counts once.
  std::uint64_t full = 0;
  std::uint64_t resizes = 0;     // steps of the capacity, up and down
  std::size_t peak = 0;          // most items seen waiting at once (each queue says when it checks)
  std::size_t memory_bytes = 0;  // what the queue holds on the heap now
};

}  // namespace millrace::queue
