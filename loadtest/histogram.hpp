// A histogram of non-negative integers (here: nanoseconds), like HDR histograms: each power of two
// is divided into 2^kPrecisionBits / 2 equal buckets, so the relative error is below 0.8 % at any
// magnitude, recording is a shift and an increment, and the size does not depend on the data.
//
// One thread at a time. Invariants: count() is the sum of all buckets; min() and max() are exact;
// values above kTrackedMax are counted in the last bucket, and max() is exact for them too.
// After: Gil Tene, HdrHistogram (the bucket layout).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace millrace::loadtest {

class Histogram {
 public:
  static constexpr unsigned kPrecisionBits = 8;
  static constexpr unsigned kValueBits = 42;  // 2^42 ns: 73 minutes
  static constexpr std::uint64_t kTrackedMax = (std::uint64_t{1} << kValueBits) - 1;

  struct Bucket {
    std::uint64_t lowest;   // smallest value counted here
    std::uint64_t highest;  // largest value counted here
    std::uint64_t count;
  };

  Histogram() : counts_(index_of(kTrackedMax) + 1) {}

  // A negative value (a clock that stepped) counts as zero.
  void record(std::int64_t value, std::uint64_t times = 1) {
    const std::uint64_t v = value < 0 ? 0 : static_cast<std::uint64_t>(value);
    counts_[index_of(v < kTrackedMax ? v : kTrackedMax)] += times;
    count_ += times;
    sum_ += static_cast<double>(v) * static_cast<double>(times);
    if (v > max_) max_ = v;
    if (v < min_) min_ = v;
  }

  void merge(const Histogram& other);
  void reset();

  std::uint64_t count() const { return count_; }
  bool empty() const { return count_ == 0; }
  std::uint64_t min() const { return empty() ? 0 : min_; }
  std::uint64_t max() const { return max_; }
  double mean() const { return empty() ? 0.0 : sum_ / static_cast<double>(count_); }

  // The value that `percent` (0..100) of all recorded values do not exceed: the upper end of its
  // bucket, but never above max(). 0 when empty.
  std::uint64_t percentile(double percent) const;

  // The non-empty buckets, in ascending order.
  std::vector<Bucket> buckets() const;

  static constexpr std::size_t index_of(std::uint64_t value) {
    constexpr std::uint64_t half = std::uint64_t{1} << (kPrecisionBits - 1);
    if (value < 2 * half) return static_cast<std::size_t>(value);
    const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - kPrecisionBits;
    return static_cast<std::size_t>((shift * half) + (value >> shift));
  }
  static constexpr std::uint64_t lowest_of(std::size_t index) {
    constexpr std::uint64_t half = std::uint64_t{1} << (kPrecisionBits - 1);
    if (index < 2 * half) return index;
    const std::uint64_t shift = index / half - 1;
    return (index - shift * half) << shift;
  }

 private:
  std::vector<std::uint64_t> counts_;
  std::uint64_t count_ = 0;
  std::uint64_t min_ = ~std::uint64_t{0};
  std::uint64_t max_ = 0;
  double sum_ = 0;
};

}  // namespace millrace::loadtest
