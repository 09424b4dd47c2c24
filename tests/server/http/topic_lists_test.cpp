// However many lists are asked for, everything else gets its turn after a slice of one.
#include "server/http/topic_lists.hpp"

#include <gtest/gtest.h>

#include <boost/asio/post.hpp>
#include <memory>
#include <string>
#include <vector>

#include "core/broker/buffer.hpp"
#include "core/broker/inbox.hpp"
#include "core/broker/message.hpp"
#include "core/broker/topic_hash.hpp"
#include "core/broker/topic_table.hpp"

namespace millrace::server {
namespace {

class TopicListsTest : public testing::Test {
 protected:
  std::shared_ptr<TopicList> list() {
    auto exchange =
        std::make_shared<HttpExchange>(HttpRequest{}, [this](HttpResponse) { ++answered_; });
    exchange_ = exchange;
    auto made =
        std::make_shared<TopicList>(topics_, TopicListQuery{}, nullptr, std::move(exchange));
    made->start();
    return made;
  }

  void store(int count) {
    for (int i = 0; i < count; ++i) {
      const std::string name = "sensors/" + std::to_string(i);
      broker::MessageParts parts;
      parts.topic = name;
      const broker::Message message = broker::build_message(parts, broker::Inbox::now_ns());
      broker::Topic& topic = topics_.obtain(broker::topic_hash(name), name, ++sequence_);
      topics_.store_newest(topic, message.buffer);
    }
  }

  broker::TopicTable topics_{broker::TopicLimits{}};
  std::uint64_t sequence_ = 0;
  boost::asio::io_context context_;
  TopicLists lists_{context_};
  int answered_ = 0;
  HttpExchange::Ptr exchange_;  // of the last list
};

TEST_F(TopicListsTest, OthersWaitForOneSlice) {
  for (int i = 0; i < 250; ++i) EXPECT_TRUE(lists_.add(list()));
  bool served = false;
  boost::asio::post(context_, [&] { served = true; });
  for (int i = 0; i < 2; ++i) context_.poll_one();
  EXPECT_TRUE(served);
  EXPECT_LE(answered_, 1);
}

TEST_F(TopicListsTest, OnlySoManyStandInLineAndNoneThatHasLeft) {
  const std::size_t room = TopicLists::active_max + TopicLists::waiting_max;
  std::vector<HttpExchange::Ptr> leaving;
  for (std::size_t i = 0; i < room; ++i) {
    auto one = list();
    if (i % 2 == 1) leaving.push_back(exchange_);
    EXPECT_TRUE(lists_.add(std::move(one)));
  }
  EXPECT_FALSE(lists_.add(list()));
  for (const HttpExchange::Ptr& exchange : leaving) exchange->gone();
  EXPECT_TRUE(lists_.add(list()));
  EXPECT_LE(lists_.waiting(), TopicLists::waiting_max / 2 + 1);
}

TEST_F(TopicListsTest, ALargeTableTakesMoreThanASlice) {
  store(100'000);
  const auto large = list();
  EXPECT_FALSE(large->step());
  EXPECT_EQ(answered_, 0);
  while (!large->step()) continue;
  EXPECT_EQ(answered_, 1);
}

TEST_F(TopicListsTest, AllAreAnsweredInTheEnd) {
  for (int i = 0; i < 250; ++i) EXPECT_TRUE(lists_.add(list()));
  context_.run();
  EXPECT_EQ(answered_, 250);
  EXPECT_TRUE(lists_.add(list()));
  context_.restart();
  context_.run();
  EXPECT_EQ(answered_, 251);
}

}  // namespace
}  // namespace millrace::server
