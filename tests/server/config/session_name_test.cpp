#include "server/config/session_name.hpp"

#include <gtest/gtest.h>

namespace millrace::server {
namespace {

void expect_parts(std::string_view name, std::string_view id, std::string_view user, bool is_link) {
  const SessionName parts = parse_session_name(name);
  EXPECT_EQ(parts.id, id);
  EXPECT_EQ(parts.user, user);
  EXPECT_EQ(parts.is_link, is_link);
}

TEST(SessionName, IsTakenApartAsItWasMade) {
  expect_parts("lamp", "lamp", "", false);
  expect_parts(name_of_session("", "lamp"), "lamp", "", false);
  expect_parts(name_of_session("ann", "lamp"), "lamp", "ann", false);
  expect_parts(name_of_link("upstream/far"), "upstream/far", "", true);
}

TEST(SessionName, IsAnotherForEachUserAndForALink) {
  EXPECT_NE(name_of_session("ann", "lamp"), name_of_session("bob", "lamp"));
  EXPECT_NE(name_of_session("ann", "lamp"), name_of_session("", "annlamp"));
  EXPECT_NE(name_of_link("lamp"), name_of_session("", "lamp"));
}

}  // namespace
}  // namespace millrace::server
