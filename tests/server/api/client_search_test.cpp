// Which session a request means: by the identifier alone, by the user, and of a link.
#include "server/api/client_search.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/config/session_name.hpp"
#include "tests/broker/users.hpp"
#include "tests/broker/world.hpp"

namespace millrace::server {
namespace {

using broker::World;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

using Query = std::vector<std::pair<std::string, std::string>>;

std::optional<ClientChoice> parsed(Query query, std::string& fault,
                                   const std::string& method = "GET") {
  HttpRequest request;
  request.method = method;
  request.rest = "lamp";
  request.query = std::move(query);
  return parse_client_choice(request, fault);
}
std::optional<ClientChoice> parsed(Query query, const std::string& method = "GET") {
  std::string fault;
  return parsed(std::move(query), fault, method);
}

FoundClient find(World& world, ClientChoice choice, SessionScope scope = SessionScope::user) {
  std::optional<FoundClient> found;
  const auto asker = std::make_shared<int>();
  world.apply({nullptr, broker::command::Inquire{std::make_unique<ClientSearch>(
                            std::move(choice), scope, asker,
                            [&](FoundClient answer) { found = std::move(answer); })}});
  world.run_until_idle();
  EXPECT_TRUE(found) << "it answers";
  return found.value_or(FoundClient());
}

const std::string lamp_of_ann = name_of_session("ann", "lamp");
const std::string far_link = name_of_link("upstream/far");

TEST(ClientChoice, IsWhatTheRequestSays) {
  EXPECT_EQ(parsed({})->id, "lamp");
  EXPECT_FALSE(parsed({})->user);
  EXPECT_EQ(parsed({{"user", "ann"}})->user, "ann");
  EXPECT_EQ(parsed({{"user", ""}})->user, "");
  EXPECT_TRUE(parsed({{"link", "true"}})->link);
  EXPECT_TRUE(parsed({{"session", "end"}, {"user", "ann"}}, "DELETE")->ends_session);
  EXPECT_FALSE(parsed({{"session", "keep"}}, "DELETE")->ends_session);
}

TEST(ClientChoice, NamesWhatMakesNoSense) {
  const auto fault_of = [](Query query, const std::string& method = "GET") {
    std::string fault;
    EXPECT_FALSE(parsed(std::move(query), fault, method));
    return fault;
  };
  EXPECT_NE(fault_of({{"session", "end"}}), "") << "only what ends a connection takes it";
  EXPECT_NE(fault_of({{"session", "maybe"}}, "DELETE"), "");
  EXPECT_NE(fault_of({{"link", "yes"}}), "");
  EXPECT_NE(fault_of({{"link", "true"}, {"user", "ann"}}), "");
  EXPECT_NE(fault_of({{"x", "1"}}), "");
}

TEST(ClientSearch, FindsTheClientOfAUser) {
  World world;
  world.peer("lamp").connect();
  world.peer(lamp_of_ann).connect();
  world.peer(name_of_session("bob", "lamp")).connect();
  EXPECT_EQ(find(world, {"lamp", "ann"}).name, lamp_of_ann);
  EXPECT_EQ(find(world, {"lamp", "ann"}).user, "ann");
  EXPECT_EQ(find(world, {"lamp", ""}).name, "lamp");
  EXPECT_EQ(find(world, {"lamp", "carol"}).name, "");
  EXPECT_EQ(find(world, {"la", "ann"}).name, "");
}

TEST(ClientSearch, FindsTheOnlyClientOfAnIdentifier) {
  broker::ProcessorLimits limits;
  limits.inquiry_sessions_per_batch = 3;
  World world(limits);
  for (int i = 0; i < 20; ++i) world.peer("other" + std::to_string(i)).connect();
  world.peer(lamp_of_ann).connect();
  world.peer(name_of_session("lamp", "ann")).connect();
  EXPECT_EQ(find(world, {"lamp", {}}).name, lamp_of_ann);
  EXPECT_EQ(find(world, {"lamp", {}}).user, "ann");
  EXPECT_EQ(find(world, {"nobody", {}}).name, "");
}

TEST(ClientSearch, NamesTheUsersOfSeveral) {
  World world;
  world.peer("lamp").connect();
  world.peer(lamp_of_ann).connect();
  const FoundClient found = find(world, {"lamp", {}});
  EXPECT_EQ(found.name, "");
  EXPECT_THAT(found.users, ElementsAre("ann", ""));
  EXPECT_THAT(text_of_several("lamp", found.users), HasSubstr("\"ann\", the anonymous"));
  for (int i = 0; i < 100; ++i) {
    world.peer(name_of_session("user" + std::to_string(i), "lamp")).connect();
  }
  const FoundClient many = find(world, {"lamp", {}});
  EXPECT_THAT(many.users, SizeIs(ClientSearch::users_max + 1));
  EXPECT_THAT(text_of_several("lamp", many.users), HasSubstr("and more"));
}

// Then the identifier is the whole name, whoever the session's user is.
TEST(ClientSearch, FindsAClientWhereIdentifiersAreTheServers) {
  World world;
  const broker::Users users({{"ann", {}}, {"bob", {}}});
  broker::Peer& lamp = world.peer("lamp");
  lamp.rights = users.rights_of("ann");
  lamp.connect();
  for (const auto scope : {SessionScope::server, SessionScope::user}) {
    EXPECT_EQ(find(world, {"lamp", {}}, scope).name, "lamp");
    EXPECT_EQ(find(world, {"lamp", {}}, scope).user, "ann");
    EXPECT_EQ(find(world, {"lamp", "ann"}, scope).name, "lamp");
    EXPECT_EQ(find(world, {"lamp", "bob"}, scope).name, "");
    EXPECT_EQ(find(world, {"lamp", ""}, scope).name, "");
  }
}

TEST(ClientSearch, FindsALinkUnlessAClientHasItsName) {
  World world;
  world.peer(far_link).connect();
  for (const auto scope : {SessionScope::server, SessionScope::user}) {
    EXPECT_EQ(find(world, {"upstream/far", {}}, scope).name, far_link);
    EXPECT_EQ(find(world, {"upstream/far", {}, true}, scope).name, far_link);
    EXPECT_EQ(find(world, {"upstream/far", "ann"}, scope).name, "");
  }
  world.peer("upstream/far").connect();
  for (const auto scope : {SessionScope::server, SessionScope::user}) {
    EXPECT_EQ(find(world, {"upstream/far", {}}, scope).name, "upstream/far");
    EXPECT_EQ(find(world, {"upstream/far", {}, true}, scope).name, far_link);
  }
}

TEST(ClientSearch, EndsOnceNobodyAsks) {
  World world;
  world.peer("lamp").connect();
  bool answered = false;
  world.apply({nullptr, broker::command::Inquire{std::make_unique<ClientSearch>(
                            ClientChoice{"lamp", {}}, SessionScope::user, std::weak_ptr<void>(),
                            [&](FoundClient) { answered = true; })}});
  world.run_until_idle();
  EXPECT_FALSE(answered);
}

}  // namespace
}  // namespace millrace::server
