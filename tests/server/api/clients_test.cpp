// Pages of clients: which a query picks, in which order, and what walks of the processor answer.
#include "server/api/clients.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "server/config/session_name.hpp"
#include "tests/broker/users.hpp"
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
                             {"after", "12/eC95"}});
  ASSERT_TRUE(query);
  EXPECT_EQ(query->prefix, "a");
  EXPECT_EQ(query->user, "");
  EXPECT_EQ(query->state, ClientQuery::State::away);
  EXPECT_EQ(query->sort, ClientQuery::Sort::waiting_bytes);
  EXPECT_EQ(query->limit, 7u);
  EXPECT_EQ(query->after, (ClientQuery::Place{12, "x/y"}));
  EXPECT_FALSE(parsed({})->user);
}

TEST(ClientQuery, AsksForConnectionsWhereOnlyTheyKnow) {
  EXPECT_FALSE(parsed({{"sort", "age"}, {"prefix", "a"}})->asks_for_connection());
  EXPECT_TRUE(parsed({{"address", "10.0.0.0/8"}})->asks_for_connection());
  EXPECT_TRUE(parsed({{"listener", "tcp"}})->asks_for_connection());
  EXPECT_TRUE(parsed({{"sort", "connected"}})->asks_for_connection());
  EXPECT_TRUE(parsed({{"sort", "sent"}})->asks_for_connection());
}

TEST(ClientQuery, NamesWhatMakesNoSense) {
  for (const char* name : {"address", "state", "sort", "limit", "after", "nothing"}) {
    std::string fault;
    EXPECT_FALSE(parsed({{name, "-1"}}, &fault));
    EXPECT_NE(fault.find(name), std::string::npos) << fault;
  }
  EXPECT_FALSE(parsed({{"limit", "0"}}));
  EXPECT_FALSE(parsed({{"limit", "1001"}}));
  EXPECT_FALSE(parsed({{"after", "99999999999999999999/eC95"}}));
  EXPECT_FALSE(parsed({{"after", "12/x/y"}}));
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
    // As with session.scope `user`.
    for (const char* user : {"ann", "bob"}) {
      world.peer(name_of_session(user, std::string(1, name))).connect();
      wanted.push_back(std::string(1, name) + " of " + user);
    }
  }
  ClientQuery query;
  query.limit = 4;
  std::vector<std::string> seen;
  for (std::string fault;;) {
    const auto page = ask(world, query);
    ASSERT_TRUE(page);
    for (const ClientRow& row : page->rows) seen.push_back(row.id + " of " + row.user);
    if (!page->next) break;
    EXPECT_EQ(page->next->find('\0'), std::string::npos);  // which no URL has
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

TEST(ClientList, HandsOutEveryConnectedClientWhereOnlyConnectionsKnow) {
  broker::ProcessorLimits limits;
  limits.inquiry_sessions_per_batch = 3;
  World world(limits);
  std::vector<std::string> wanted;
  for (char name = 'a'; name <= 'k'; ++name) {
    world.peer(std::string(1, name)).connect();
    wanted.emplace_back(1, name);
  }
  world.peer("away").connect(false, 100).close();
  std::vector<std::string> seen;
  std::size_t slices = 0;
  bool done = false;
  const auto asker = std::make_shared<int>();
  world.apply({nullptr, broker::command::Inquire{std::make_unique<ClientListInquiry>(
                            *parsed({{"listener", "tcp"}}), asker,
                            [&](const ClientPage& page) { done = page.rows.empty(); },
                            [&](std::vector<ClientRow> slice, std::uint32_t begun) {
                              EXPECT_FALSE(done);
                              EXPECT_EQ(begun, 1u);
                              ++slices;
                              for (const ClientRow& row : slice) seen.push_back(row.id);
                            })}});
  world.run_until_idle();
  EXPECT_TRUE(done);
  EXPECT_GT(slices, 1u);
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(seen, wanted);
}

// --- A hundred thousand clients ------------------------------------------------------------------

// The server's own inquiry, with its steps counted.
class CountedList final : public broker::Inquiry {
 public:
  CountedList(std::unique_ptr<ClientListInquiry> list, std::size_t& steps)
      : list_(std::move(list)), steps_(steps) {}
  bool step(const Scope& scope, std::uint32_t budget) override {
    ++steps_;
    return list_->step(scope, budget);
  }

 private:
  const std::unique_ptr<ClientListInquiry> list_;
  std::size_t& steps_;
};

class Crowd {
 public:
  static constexpr std::size_t count = 100'000;
  static constexpr std::uint32_t steps_min =
      count / broker::ProcessorLimits().inquiry_sessions_per_batch;

  Crowd() {
    world_.joins = [] { return true; };  // in few batches, which is quicker
    for (std::size_t i = 0; i < count - 2; ++i) {
      ids_.push_back("client-" + std::to_string(i));
      world_.peer(ids_.back()).connect();
    }
    for (const broker::Peer* peer : {&reader_, &writer_}) ids_.push_back(peer->client_id);
    reader_.connect().subscribe("news");
    writer_.connect();
    world_.joins = {};
    world_.run_until_idle();
    reader_.read();
    std::sort(ids_.begin(), ids_.end());
  }
  ~Crowd() {
    world_.joins = [] { return true; };
    for (const auto& peer : world_.peers) peer->close();
    world_.joins = {};
    world_.run_until_idle();
  }

  const std::vector<std::string>& ids() const { return ids_; }

  // A page, while a message is published in each batch and has to be with its reader after that
  // batch, whether the page is ready or not.
  ClientPage list(ClientQuery query, ClientListInquiry::Sift sift = {}) {
    std::optional<ClientPage> page;
    std::size_t steps = 0;
    const auto asker = std::make_shared<int>();
    auto list = std::make_unique<ClientListInquiry>(
        std::move(query), asker, [&](ClientPage answer) { page = std::move(answer); },
        std::move(sift));
    world_.apply(
        {nullptr, broker::command::Inquire{std::make_unique<CountedList>(std::move(list), steps)}});
    std::size_t before_the_page = 0;
    while (!page) {
      const std::string value = std::to_string(reader_.got.size());
      writer_.publish("news", value);
      reader_.take();
      if (reader_.got.empty() || reader_.got.back().payload != value) {
        ADD_FAILURE() << "message " << value << " is not there after its batch";
        world_.run_until_idle();
        break;
      }
      if (!page) ++before_the_page;
    }
    EXPECT_GE(steps, steps_min);
    EXPECT_GE(before_the_page + 2, steps) << "the first step and the last one have none";
    return page ? std::move(*page) : ClientPage();
  }

 private:
  World world_;
  broker::Peer& reader_ = world_.peer("reader");
  broker::Peer& writer_ = world_.peer("writer");
  std::vector<std::string> ids_;
};

TEST(ClientList, LetsAMessagePassInEachBatchOfAWalkOverAHundredThousand) {
  Crowd crowd;
  ClientQuery query;
  query.limit = 30'000;  // more than a request may ask for: each page is a walk
  std::vector<std::string> seen;
  for (std::optional<std::string> next = ""; next;) {
    ClientPage page = crowd.list(query);
    for (const std::string& id : ids(page)) seen.push_back(id);
    next = std::move(page.next);
    if (next) query.after = parsed({{"after", *next}})->after;
  }
  EXPECT_EQ(seen.size(), Crowd::count);
  EXPECT_TRUE(seen == crowd.ids()) << "each once, in their order";
}

TEST(ClientList, HandsOutAHundredThousandInSlicesBetweenWhichMessagesPass) {
  Crowd crowd;
  std::vector<std::string> seen;
  crowd.list(*parsed({{"listener", "tcp"}}),
             [&](const std::vector<ClientRow>& slice, std::uint32_t begun) {
               EXPECT_EQ(begun, 1u);
               EXPECT_LE(slice.size(), broker::ProcessorLimits().inquiry_sessions_per_batch);
               for (const ClientRow& row : slice) seen.push_back(row.id);
             });
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(seen.size(), Crowd::count);
  EXPECT_TRUE(seen == crowd.ids()) << "each once";
}

// --- What connections know -----------------------------------------------------------------------

ClientRow row_from(std::string id, std::string address, std::uint64_t bytes_sent,
                   std::string listener = "tcp") {
  ClientRow row;
  row.name = row.id = std::move(id);
  row.connection.emplace();
  row.connection->address = std::move(address);
  row.connection->listener = std::move(listener);
  row.connection->bytes_sent = bytes_sent;
  return row;
}

std::vector<ClientRow> some_rows() {
  std::vector<ClientRow> rows = {row_from("a", "10.0.0.1", 7), row_from("b", "11.0.0.1", 9),
                                 row_from("c", "10.0.0.2", 8, "ws"), row_from("d", "10.0.0.3", 7),
                                 ClientRow()};
  rows.back().name = rows.back().id = "gone";
  return rows;
}

ClientPage page_of(Query query) {
  ClientPageMaker maker(*parsed(std::move(query)));
  for (ClientRow& row : some_rows()) maker.consider(std::move(row));
  return maker.finish();
}

TEST(ClientPageMaker, PicksByAddressAndListener) {
  using Ids = std::vector<std::string>;
  EXPECT_EQ(ids(page_of({{"address", "10.0.0.0/8"}})), (Ids{"a", "c", "d"}));
  EXPECT_EQ(ids(page_of({{"address", "11.0.0.1"}})), Ids{"b"});
  EXPECT_EQ(ids(page_of({{"listener", "ws"}})), Ids{"c"});
  EXPECT_EQ(ids(page_of({{"listener", "ws"}, {"address", "11.0.0.1"}})), Ids{});
}

TEST(ClientPageMaker, KeepsTheGreatestFirstInPages) {
  const ClientPage first = page_of({{"sort", "sent"}, {"limit", "2"}});
  EXPECT_EQ(ids(first), (std::vector<std::string>{"b", "c"}));
  ASSERT_TRUE(first.next);
  const ClientPage second = page_of({{"sort", "sent"}, {"limit", "2"}, {"after", *first.next}});
  EXPECT_EQ(ids(second), (std::vector<std::string>{"a", "d"}));
  EXPECT_FALSE(second.next);
}

TEST(ClientPageMaker, SortsByWhatAConnectionKnows) {
  const auto sorted_by = [](const char* word) {
    ClientPageMaker maker(*parsed({{"sort", word}}));
    for (const auto& [id, seconds, received] :
         {std::tuple("a", 5u, 30u), {"b", 600u, 10u}, {"c", 70u, 20u}}) {
      ClientRow row = row_from(id, "10.0.0.1", 0);
      row.connection->connected_seconds = seconds;
      row.connection->bytes_received = received;
      maker.consider(std::move(row));
    }
    return ids(maker.finish());
  };
  EXPECT_EQ(sorted_by("connected"), (std::vector<std::string>{"b", "c", "a"}));
  EXPECT_EQ(sorted_by("received"), (std::vector<std::string>{"a", "c", "b"}));
}

// --- What sessions know --------------------------------------------------------------------------

TEST(ClientList, TellsHowManyValuesAClientHasNotSeen) {
  broker::ProcessorLimits limits;
  limits.credit_bytes = limits.credit_latest_bytes = 50;
  World world(limits);
  auto& reader = world.peer("reader").connect(false, 100).subscribe("a", 0, broker::Mode::latest);
  auto& writer = world.peer("writer").connect();
  for (int i = 0; i < 10; ++i) writer.publish("a", std::string(40, 'x'));
  const auto rows = ask(world, {})->rows;
  ASSERT_EQ(rows[0].id, "reader");
  EXPECT_GE(rows[0].conflated, 7u);
  EXPECT_EQ(rows[1].conflated, 0u);
  EXPECT_EQ(world.processor.stats().conflated.value(), rows[0].conflated);
  reader.close();
  world.peer("reader").connect(false, 100);
  EXPECT_EQ(ask(world, {})->rows[0].conflated, 0u);  // of this connection
}

// It has no backlog that could collapse.
TEST(ClientList, HasAReaderOfNewestValuesAmongTheSlowWhileTheyWaitForLong) {
  broker::ProcessorLimits limits;
  limits.credit_bytes = limits.credit_latest_bytes = 50;
  World world(limits);
  auto& reader = world.peer("reader").connect().subscribe("#", 0, broker::Mode::latest);
  auto& writer = world.peer("writer").connect();
  for (const char* topic : {"a", "b", "c"}) writer.publish(topic, std::string(40, 'x'));
  ClientQuery query;
  query.state = ClientQuery::State::slow;
  const auto gauge = [&] { return world.processor.stats().slow_sessions.value(); };
  EXPECT_TRUE(ask(world, query)->rows.empty()) << "it is not too late yet";
  EXPECT_EQ(gauge(), 0u);
  world.advance_ms(limits.adaptive_stale_after_ms);
  const auto rows = ask(world, query)->rows;
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].id, "reader");
  EXPECT_TRUE(rows[0].slow);
  EXPECT_EQ(rows[0].credit_bytes, 50u);
  EXPECT_GE(rows[0].unwritten_bytes, rows[0].credit_bytes);
  EXPECT_EQ(gauge(), 1u) << "what is listed is counted";
  while (ask(world, query)->rows.size() > 0) reader.read();
  EXPECT_EQ(gauge(), 0u);
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

TEST(ClientList, PicksTheClientsOfAUser) {
  World world;
  const broker::Users users({{"ann", {}}, {"bob", {}}});
  for (const char* id : {"ann-1", "bob-1", "ann-2"}) {
    broker::Peer& peer = world.peer(id);
    peer.rights = users.rights_of(std::string(id, 3));
    peer.connect();
  }
  world.peer("anonymous").connect();
  const auto rows = ask(world, *parsed({{"user", "ann"}}))->rows;
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].id, "ann-1");
  EXPECT_EQ(rows[1].id, "ann-2");
  EXPECT_EQ(json_of(rows[0])["user"], "ann");
  EXPECT_EQ(ids(*ask(world, *parsed({{"user", ""}}))), std::vector<std::string>{"anonymous"});
  EXPECT_TRUE(ask(world, *parsed({{"user", "an"}}))->rows.empty()) << "a user is named in full";
}

// As with session.scope `user`, and with a link to another broker.
TEST(ClientList, HasIdentifiersWithoutWhatStandsBesideThemInTheNamesOfSessions) {
  World world;
  for (const std::string& name : {std::string("lamp"), name_of_session("ann", "lamp"),
                                  name_of_session("lamp", "other"), name_of_link("upstream/far")}) {
    world.peer(name).connect();
  }
  const auto rows = ask(world, *parsed({{"prefix", "lamp"}}))->rows;
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(json_of(rows[0])["id"], "lamp");
  EXPECT_EQ(json_of(rows[0])["user"], nullptr);
  EXPECT_EQ(json_of(rows[1])["id"], "lamp");
  EXPECT_EQ(json_of(rows[1])["user"], "ann");
  EXPECT_EQ(json_of(rows[1])["link"], false);
  EXPECT_EQ(ids(*ask(world, *parsed({{"user", "ann"}}))), std::vector<std::string>{"lamp"});
  const auto links = ask(world, *parsed({{"prefix", "upstream/"}}))->rows;
  ASSERT_EQ(links.size(), 1u);
  EXPECT_EQ(json_of(links[0])["id"], "upstream/far");
  EXPECT_EQ(json_of(links[0])["link"], true);
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

TEST(ClientDetail, HasTheRateOfASubscription) {
  World world;
  world.peer("c").connect().subscribe(broker::limited("a", 250)).subscribe("b");
  const ClientDetail detail = detail_of(world, "c");
  ASSERT_EQ(detail.subscriptions.size(), 2u);
  EXPECT_EQ(detail.subscriptions[0].interval_ms, 250u);
  EXPECT_EQ(detail.subscriptions[1].interval_ms, 0u);
  EXPECT_EQ(json_of(detail)["subscribed"][0]["interval_ms"], 250);
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
