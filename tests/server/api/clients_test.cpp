// Pages of clients: which a query picks, in which order, and what walks of the processor answer.
#include "server/api/clients.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/broker/world.hpp"

namespace millrace::server {
namespace {

using broker::World;
using Query = std::vector<std::pair<std::string, std::string>>;

std::optional<ClientQuery> parsed(Query query, std::string* fault = nullptr) {
  HttpRequest request;
  request.query = std::move(query);
  std::string said;
  return parse_client_query(request, fault != nullptr ? *fault : said);
}

TEST(ClientQuery, IsWhatTheRequestSays) {
  const auto query = parsed({{"prefix", "a"},
                             {"user", ""},
                             {"state", "away"},
                             {"sort", "waiting_bytes"},
                             {"limit", "7"},
                             {"after", "12/x/y"}});
  ASSERT_TRUE(query);
  EXPECT_EQ(query->prefix, "a");
  EXPECT_EQ(query->user, "");
  EXPECT_EQ(query->state, ClientQuery::State::away);
  EXPECT_EQ(query->sort, ClientQuery::Sort::waiting_bytes);
  EXPECT_EQ(query->limit, 7u);
  EXPECT_EQ(query->after, (ClientQuery::Place{12, "x/y"}));
  EXPECT_FALSE(parsed({})->user);
}

TEST(ClientQuery, NamesWhatMakesNoSense) {
  for (const char* name : {"state", "sort", "limit", "after", "nothing"}) {
    std::string fault;
    EXPECT_FALSE(parsed({{name, "-1"}}, &fault));
    EXPECT_NE(fault.find(name), std::string::npos) << fault;
  }
  EXPECT_FALSE(parsed({{"limit", "0"}}));
  EXPECT_FALSE(parsed({{"limit", "1001"}}));
  EXPECT_FALSE(parsed({{"after", "99999999999999999999/x"}}));
}

// What the inquiry answered: nothing, as long as it has not.
std::optional<ClientPage> ask(World& world, ClientQuery query) {
  auto page = std::make_shared<std::optional<ClientPage>>();
  const auto asker = std::make_shared<int>();
  world.apply({nullptr, broker::command::Inquire{std::make_unique<ClientListInquiry>(
                            std::move(query), asker,
                            [page](ClientPage answer) { *page = std::move(answer); })}});
  world.run_until_idle();
  return std::move(*page);
}

std::vector<std::string> ids(const ClientPage& page) {
  std::vector<std::string> ids;
  for (const ClientRow& row : page.rows) ids.push_back(row.id);
  return ids;
}

TEST(ClientList, ComesInPagesThatHoldEachClientOnce) {
  broker::ProcessorLimits limits;
  limits.inquiry_sessions_per_batch = 3;
  World world(limits);
  std::vector<std::string> wanted;
  for (char name = 'a'; name <= 'z'; ++name) {
    world.peer(std::string(1, name)).connect();
    wanted.emplace_back(1, name);
  }
  ClientQuery query;
  query.limit = 4;
  std::vector<std::string> seen;
  for (std::string fault;;) {
    const auto page = ask(world, query);
    ASSERT_TRUE(page);
    for (const std::string& id : ids(*page)) seen.push_back(id);
    if (!page->next) break;
    query = *parsed({{"limit", "4"}, {"after", *page->next}}, &fault);
  }
  EXPECT_EQ(seen, wanted);
}

TEST(ClientList, ShowsWhoHasMostWaitingFirst) {
  broker::ProcessorLimits limits;
  limits.credit_bytes = 50;
  World world(limits);
  auto& some = world.peer("some").connect().subscribe("a");
  auto& more = world.peer("more").connect().subscribe("#");
  world.peer("none").connect();
  auto& writer = world.peer("writer").connect();
  for (const char* topic : {"a", "a", "a", "b", "c"}) writer.publish(topic, std::string(40, 'x'));
  ClientQuery query;
  query.sort = ClientQuery::Sort::waiting;
  const auto page = ask(world, query);
  ASSERT_TRUE(page);
  EXPECT_EQ(ids(*page), (std::vector<std::string>{"more", "some", "none", "writer"}));
  EXPECT_GT(page->rows[0].waiting, page->rows[1].waiting);
  EXPECT_GT(page->rows[1].waiting, 0u);
  some.read();
  more.read();
}

TEST(ClientList, TellsThoseWhoAreAwayFromThoseWhoAreHere) {
  World world;
  world.peer("here").connect();
  world.peer("away").connect(false, 100).close();
  ClientQuery query;
  query.state = ClientQuery::State::away;
  EXPECT_EQ(ids(*ask(world, query)), std::vector<std::string>{"away"});
  query.state = ClientQuery::State::connected;
  EXPECT_EQ(ids(*ask(world, query)), std::vector<std::string>{"here"});
}

TEST(ClientList, IsNotWalkedForWhomeverHasGone) {
  World world;
  world.peer("c").connect();
  bool answered = false;
  world.apply(
      {nullptr, broker::command::Inquire{std::make_unique<ClientListInquiry>(
                    ClientQuery(), std::weak_ptr<void>(), [&](ClientPage) { answered = true; })}});
  world.run_until_idle();
  EXPECT_FALSE(answered);
}

ClientDetail detail_of(World& world, std::string id) {
  ClientDetail detail;
  world.apply({nullptr, broker::command::Inquire{std::make_unique<ClientInquiry>(
                            std::move(id), [&](ClientDetail answer) { detail = answer; })}});
  world.run_until_idle();
  return detail;
}

TEST(ClientDetail, HasTheSubscriptionsByName) {
  World world;
  world.peer("c").connect().subscribe("b/#", 1).subscribe("a", 0, broker::Mode::latest);
  const ClientDetail detail = detail_of(world, "c");
  ASSERT_TRUE(detail.row);
  ASSERT_EQ(detail.subscriptions.size(), 2u);
  EXPECT_EQ(detail.subscriptions[0].filter, "$latest/a");
  EXPECT_EQ(detail.subscriptions[0].mode, broker::Mode::latest);
  EXPECT_EQ(detail.subscriptions[1].filter, "b/#");
  EXPECT_EQ(detail.subscriptions[1].qos, 1);
  EXPECT_FALSE(detail.more_subscriptions);
}

TEST(ClientDetail, ShowsABoundedNumberOfSubscriptionsAndSaysSo) {
  World world;
  auto& peer = world.peer("c").connect();
  for (std::uint32_t i = 0; i < ClientInquiry::subscriptions_max + 200; ++i) {
    peer.subscribe("f/" + std::to_string(i));
  }
  const ClientDetail detail = detail_of(world, "c");
  EXPECT_GE(detail.subscriptions.size(), std::size_t{ClientInquiry::subscriptions_max});
  EXPECT_LE(detail.subscriptions.size(), std::size_t{ClientInquiry::subscriptions_max} + 64);
  EXPECT_TRUE(detail.more_subscriptions);
}

TEST(ClientDetail, IsNothingForANameThatNobodyHas) {
  World world;
  EXPECT_FALSE(detail_of(world, "nobody").row);
}

}  // namespace
}  // namespace millrace::server
