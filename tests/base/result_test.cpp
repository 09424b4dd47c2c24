// Tests the contract of core/base/result.hpp.
#include "core/base/result.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <type_traits>
#include <utility>

namespace millrace::base {
namespace {

// Small results are trivially copyable, so they are passed in registers.
static_assert(std::is_trivially_copyable_v<Result<long>> && sizeof(Result<long>) <= 16);
static_assert(sizeof(Result<void>) == 1);
// A value in place of a result, never a result in place of a value.
static_assert(std::is_convertible_v<int, Result<int>>);
static_assert(!std::is_convertible_v<Result<int>, int>);
static_assert(!std::is_convertible_v<const char*, Result<std::unique_ptr<int>>>);

Result<int> half(int number) {
  if (number % 2 != 0) return Error::empty;
  return number / 2;
}

TEST(Result, HoldsAValueOrAnError) {
  const Result<int> value = half(8);
  ASSERT_TRUE(value);
  EXPECT_EQ(*value, 4);
  EXPECT_EQ(value.error(), Error::none);
  const Result<int> none = half(7);
  EXPECT_FALSE(none);
  EXPECT_EQ(none.error(), Error::empty);
  EXPECT_EQ(half(7).value_or(3), 3);
  EXPECT_EQ(half(8).value_or(3), 4);
}

TEST(Result, ValueThrowsTheErrorIfThereIsNoValue) {
  try {
    std::ignore = half(7).value();
    FAIL();
  } catch (const BadResult& bad) {
    EXPECT_EQ(bad.error(), Error::empty);
    EXPECT_EQ(bad.what(), describe(Error::empty));
  }
  EXPECT_THROW(Result<void>(Error::full).value(), BadResult);
  EXPECT_NO_THROW(Result<void>().value());
}

TEST(Result, MovesWhatCannotBeCopied) {
  Result<std::unique_ptr<int>> owner = std::make_unique<int>(7);
  EXPECT_EQ(**owner, 7);
  const std::unique_ptr<int> taken = *std::move(owner);
  EXPECT_EQ(*taken, 7);
  const std::string text = Result<std::string>("abc").value();
  EXPECT_EQ(text, "abc");
}

TEST(Result, EveryErrorHasItsOwnWords) {
  for (int a = 0; a <= static_cast<int>(Error::shrink_threshold_out_of_range); ++a) {
    EXPECT_NE(describe(static_cast<Error>(a)), describe(static_cast<Error>(255)));
    for (int b = 0; b < a; ++b) {
      EXPECT_NE(describe(static_cast<Error>(a)), describe(static_cast<Error>(b)));
    }
  }
}

}  // namespace
}  // namespace millrace::base
