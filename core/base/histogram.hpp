// A histogram that costs its writer a few ordinary loads and stores; threads as for Counter.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/base/counter.hpp"

namespace millrace::base {

// Buckets whose upper bounds are 1, 2, 4, ... ; the last one has no bound.
template <std::size_t bucket_count>
class PowerHistogram {
 public:
  void record(std::uint64_t value) {
    std::size_t bucket = 0;
    while (bucket + 1 < bucket_count && (std::uint64_t{1} << bucket) < value) ++bucket;
    buckets[bucket].add();
    sum.add(value);
  }
  static constexpr std::size_t size = bucket_count;
  std::array<Counter, bucket_count> buckets;
  Counter sum;
};

}  // namespace millrace::base
