#include "core/base/trimmed.hpp"

#include <gtest/gtest.h>

namespace millrace::base {
namespace {

TEST(Trimmed, LeavesWhiteSpaceWithin) {
  EXPECT_EQ(trimmed(" \ta b\t "), "a b");
  EXPECT_EQ(trimmed("a"), "a");
  EXPECT_EQ(trimmed("a\r", " \t\r"), "a");
  EXPECT_EQ(trimmed("a\r"), "a\r");
}

TEST(Trimmed, IsEmptyWhereNothingElseIs) {
  EXPECT_EQ(trimmed(""), "");
  EXPECT_EQ(trimmed(" \t "), "");
}

}  // namespace
}  // namespace millrace::base
