#include "core/broker/buffer_releases.hpp"

#include <gtest/gtest.h>

namespace millrace::broker {
namespace {

TEST(BufferReleases, GivesBackWhatItWasGivenAtAFlush) {
  const BufferRef buffer = Buffer::allocate(8);
  BufferReleases releases;
  for (int i = 0; i < 3; ++i) releases.add(buffer);
  EXPECT_FALSE(buffer->unique());
  releases.flush();
  EXPECT_TRUE(buffer->unique());
  releases.flush();
  EXPECT_TRUE(buffer->unique());
}

TEST(BufferReleases, GivesBackOneBuffersReferencesWhenAnotherComes) {
  const BufferRef first = Buffer::allocate(8);
  const BufferRef second = Buffer::allocate(8);
  {
    BufferReleases releases;
    releases.add(first);
    releases.add(first);
    releases.add(nullptr);
    EXPECT_FALSE(first->unique());
    releases.add(second);
    EXPECT_TRUE(first->unique());
    EXPECT_FALSE(second->unique());
  }
  EXPECT_TRUE(second->unique());
}

// AddressSanitizer sees it if the buffer were read after that, or never freed.
TEST(BufferReleases, MayHoldTheLastReference) {
  BufferReleases releases;
  releases.add(Buffer::allocate(8));
  releases.flush();
  releases.add(Buffer::allocate(8));
}

}  // namespace
}  // namespace millrace::broker
