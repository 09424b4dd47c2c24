// What both elastic queues share: their configuration, their error values, their figures.
#pragma once

#include <boost/system/result.hpp>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace millrace::queue {

/// The largest max_capacity that a configuration may ask for.
inline constexpr std::size_t kCapacityMax = std::size_t{1} << 32;

/// Every way in which an operation can fail. The lower half names the rule that a configuration
/// broke.
enum class QueueError : std::uint8_t {
  kFull = 1,
  kEmpty,
  kTimedOut,
  kOutOfMemory,
  kMinCapacityZero,
  kMinAboveMax,
  kInitialOutOfRange,
  kMaxTooLarge,
  kGrowthFactorTooSmall,
  kShrinkThresholdOutOfRange,
};

constexpr std::string_view describe(QueueError error) {
  switch (error) {
    case QueueError::kFull:
      return "the queue is full";
    case QueueError::kEmpty:
      return "the queue is empty";
    case QueueError::kTimedOut:
      return "timed out";
    case QueueError::kOutOfMemory:
      return "no memory to grow";
    case QueueError::kMinCapacityZero:
      return "min_capacity must be above 0";
    case QueueError::kMinAboveMax:
      return "min_capacity must not exceed max_capacity";
    case QueueError::kInitialOutOfRange:
      return "initial_capacity must lie within min_capacity..max_capacity";
    case QueueError::kMaxTooLarge:
      return "max_capacity must not exceed 2^32";
    case QueueError::kGrowthFactorTooSmall:
      return "growth_factor must be above 1 (and finite)";
    case QueueError::kShrinkThresholdOutOfRange:
      return "shrink_threshold must lie between 0 and 1, both excluded";
  }
  return "unknown queue error";
}

/// What result::value() throws where the caller did not ask first.
[[noreturn]] inline void throw_exception_from_error(QueueError error,
                                                    const boost::source_location&) {
  throw std::runtime_error(std::string(describe(error)));
}

template <class T>
using Result = boost::system::result<T, QueueError>;

struct QueueConfig {
  std::size_t min_capacity = 512;
  std::size_t initial_capacity = 1024;
  std::size_t max_capacity = 1'048'576;
  double growth_factor = 2.0;      // capacity times this when a push finds the queue full
  double shrink_threshold = 0.25;  // below this share of the capacity, capacity / growth_factor
};

/// The rule that `config` breaks, or success.
constexpr Result<void> validate(const QueueConfig& config) {
  if (config.min_capacity == 0) return QueueError::kMinCapacityZero;
  if (config.min_capacity > config.max_capacity) return QueueError::kMinAboveMax;
  if (config.max_capacity > kCapacityMax) return QueueError::kMaxTooLarge;
  if (config.initial_capacity < config.min_capacity ||
      config.initial_capacity > config.max_capacity) {
    return QueueError::kInitialOutOfRange;
  }
  // Written so that NaN fails both.
  if (!(config.growth_factor > 1.0 && config.growth_factor <= 1e9)) {
    return QueueError::kGrowthFactorTooSmall;
  }
  if (!(config.shrink_threshold > 0.0 && config.shrink_threshold < 1.0)) {
    return QueueError::kShrinkThresholdOutOfRange;
  }
  return {};
}

/// The capacity after one step up or down; shared, so that both queues resize alike.
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

struct QueueStats {
  std::uint64_t pushed = 0;   // items accepted since creation
  std::uint64_t popped = 0;   // items taken out, cleared ones included
  std::uint64_t full = 0;     // pushes refused (or cut short) because there was no room
  std::uint64_t resizes = 0;  // steps of the capacity, up and down
  std::size_t peak = 0;  // most items seen waiting at once (see the queue for how often it looks)
  std::size_t memory_bytes = 0;  // what the queue holds on the heap now
};

}  // namespace millrace::queue
