#include "loadtest/histogram.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace millrace::loadtest {
namespace {

TEST(Histogram, IsEmptyAtFirst) {
  const Histogram h;
  EXPECT_EQ(h.count(), 0u);
  EXPECT_EQ(h.percentile(99), 0u);
  EXPECT_EQ(h.max(), 0u);
  EXPECT_EQ(h.min(), 0u);
  EXPECT_TRUE(h.buckets().empty());
}

TEST(Histogram, IsExactForSmallValues) {
  Histogram h;
  for (int v = 1; v <= 100; ++v) h.record(v);
  EXPECT_EQ(h.percentile(50), 50u);
  EXPECT_EQ(h.percentile(99), 99u);
  EXPECT_EQ(h.percentile(100), 100u);
  EXPECT_EQ(h.percentile(0), 1u);
  EXPECT_DOUBLE_EQ(h.mean(), 50.5);
}

TEST(Histogram, PutsEveryValueIntoABucketThatHoldsIt) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t value = random() >> (random() % 64) & Histogram::kTrackedMax;
    const std::size_t index = Histogram::index_of(value);
    EXPECT_LE(Histogram::lowest_of(index), value);
    EXPECT_GT(Histogram::lowest_of(index + 1), value);
  }
}

TEST(Histogram, BucketsFollowEachOtherWithoutHoles) {
  for (std::size_t i = 0; i < Histogram::index_of(Histogram::kTrackedMax); ++i) {
    EXPECT_EQ(Histogram::index_of(Histogram::lowest_of(i + 1) - 1), i);
    EXPECT_EQ(Histogram::index_of(Histogram::lowest_of(i + 1)), i + 1);
  }
}

TEST(Histogram, IsAccurateToOnePercentAtAnyMagnitude) {
  std::mt19937_64 random(2);
  std::vector<std::uint64_t> values;
  Histogram h;
  for (int i = 0; i < 50'000; ++i) {
    const std::uint64_t value = 1 + (random() >> (24 + random() % 30));
    values.push_back(value);
    h.record(static_cast<std::int64_t>(value));
  }
  std::sort(values.begin(), values.end());
  for (const double percent : {1.0, 50.0, 90.0, 99.0, 99.9, 99.99}) {
    const auto rank = static_cast<std::size_t>(percent / 100 * double(values.size()) + 0.999999);
    const double truth = static_cast<double>(values[rank - 1]);
    EXPECT_NEAR(static_cast<double>(h.percentile(percent)), truth, truth * 0.01) << percent;
  }
  EXPECT_EQ(h.max(), values.back());
  EXPECT_EQ(h.min(), values.front());
}

TEST(Histogram, CountsWhatIsBeyondItsRangeAndKeepsTheExactMaximum) {
  Histogram h;
  const std::int64_t huge = std::int64_t{1} << 50;
  h.record(5);
  h.record(huge);
  EXPECT_EQ(h.count(), 2u);
  EXPECT_EQ(h.max(), static_cast<std::uint64_t>(huge));
  EXPECT_EQ(h.percentile(100), static_cast<std::uint64_t>(huge));
}

TEST(Histogram, TakesANegativeValueAsZero) {
  Histogram h;
  h.record(-7);
  EXPECT_EQ(h.count(), 1u);
  EXPECT_EQ(h.max(), 0u);
}

TEST(Histogram, MergesToTheSameAsRecordingEverythingInOne) {
  Histogram a, b, both;
  for (int v = 0; v < 5'000; ++v) {
    (v % 3 == 0 ? a : b).record(v * 1'001, 2);
    both.record(v * 1'001, 2);
  }
  a.merge(b);
  EXPECT_EQ(a.count(), both.count());
  EXPECT_EQ(a.min(), both.min());
  EXPECT_EQ(a.max(), both.max());
  for (const double p : {10.0, 50.0, 99.0}) EXPECT_EQ(a.percentile(p), both.percentile(p));
  std::uint64_t sum = 0;
  for (const Histogram::Bucket& bucket : a.buckets()) sum += bucket.count;
  EXPECT_EQ(sum, a.count());
}

}  // namespace
}  // namespace millrace::loadtest
