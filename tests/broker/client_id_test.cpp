#include "core/broker/client_id.hpp"

#include <gtest/gtest.h>

#include <string>

namespace millrace::broker {
namespace {

TEST(ClientId, IsTheTextItWasMadeOf) {
  const std::string text("a\0b", 3);
  const ClientId id(text);
  EXPECT_EQ(id.view(), text);
  EXPECT_EQ(id.size(), 3u);
  EXPECT_FALSE(id.empty());
  EXPECT_TRUE(ClientId().empty());
  EXPECT_EQ(ClientId().view(), "");
  EXPECT_EQ(ClientId("").view(), "");
}

TEST(ClientId, IsSharedByItsCopies) {
  const ClientId id(std::string(65'535, 'x'));
  ClientId copy = id;
  EXPECT_EQ(copy.view().data(), id.view().data());
  copy = ClientId("y");
  EXPECT_EQ(copy.view(), "y");
  EXPECT_EQ(id.size(), 65'535u);
}

TEST(ClientId, IsEqualByItsText) {
  EXPECT_EQ(ClientId("a"), ClientId("a"));
  EXPECT_FALSE(ClientId("a") == ClientId("b"));
  EXPECT_EQ(ClientId("a"), "a");
}

}  // namespace
}  // namespace millrace::broker
