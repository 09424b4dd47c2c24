#include "loadtest/histogram.hpp"

#include <algorithm>
#include <cmath>

namespace millrace::loadtest {

void Histogram::merge(const Histogram& other) {
  for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
  count_ += other.count_;
  sum_ += other.sum_;
  max_ = std::max(max_, other.max_);
  min_ = std::min(min_, other.min_);
}

void Histogram::reset() {
  *this = Histogram();
}

std::uint64_t Histogram::percentile(double percent) const {
  if (empty()) return 0;
  const double wanted = std::ceil(std::clamp(percent, 0.0, 100.0) / 100.0 * double(count_));
  const std::uint64_t rank = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(wanted));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    seen += counts_[i];
    if (seen >= rank) {
      // The last bucket also counts the values above kTrackedMax.
      return i + 1 == counts_.size() ? max_ : std::min(lowest_of(i + 1) - 1, max_);
    }
  }
  return max_;
}

std::vector<Histogram::Bucket> Histogram::buckets() const {
  std::vector<Bucket> out;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    if (counts_[i] == 0) continue;
    const std::uint64_t highest =
        i + 1 == counts_.size() ? std::max(max_, kTrackedMax) : lowest_of(i + 1) - 1;
    out.push_back({lowest_of(i), highest, counts_[i]});
  }
  return out;
}

}  // namespace millrace::loadtest
