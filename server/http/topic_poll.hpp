// One question for a topic's newest value, and the wait for another answer to it.
//
// Threads: the HTTP thread, but for a poll's notify().
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/broker/topic_table.hpp"
#include "core/latest/wait_list.hpp"
#include "server/http/server.hpp"
#include "server/http/topic_value.hpp"
#include "server/observe/counters.hpp"

namespace millrace::server {

struct TopicAnswer {
  HttpResponse response;
  // The client would rather wait: 304, or 404 to one that has not seen any value yet. A client that
  // names an ETag is told at once that the value it knew is gone.
  bool may_change = false;
  // Of the topic when it was looked at, stored or not; none: there was no such topic.
  std::optional<latest::Version> version;
};

// What a request wants to know; may be asked again and again. Refers to the request, which stays
// where it is as long as its exchange is held.
class TopicQuestion {
 public:
  // `run` tells this run's ETags from all others'.
  TopicQuestion(const HttpRequest& request, std::string_view run, std::uint32_t wait_seconds_max);

  TopicAnswer ask(const broker::TopicTable& topics) const;
  // Has anything been stored since that answer?
  bool is_news(const broker::TopicTable& topics, const TopicAnswer& answer) const;

  std::uint64_t hash() const { return hash_; }
  std::uint32_t wait_seconds() const { return wait_seconds_; }  // 0: it was not asked to wait

 private:
  HttpResponse found(const TopicValue& value) const;

  const HttpRequest& request_;
  const std::string run_;
  const std::uint64_t hash_;
  const std::uint32_t wait_seconds_;
};

// Waits in the topic table's wait room until there is another answer, the time is up, or the client
// has gone; in_room_ keeps it alive there.
class TopicPoll final : public latest::Waiter, public std::enable_shared_from_this<TopicPoll> {
 public:
  // Called once it need not wait any more, on the HTTP thread: answers the exchange.
  using Then = std::function<void(const HttpExchange::Ptr&, HttpResponse)>;
  // Counts itself in `waiting` while it waits.
  TopicPoll(boost::asio::io_context& context, const broker::TopicTable& topics,
            TopicQuestion question, Counter& waiting, HttpExchange::Ptr exchange, Then then);

  void start();

 private:
  void look();
  void end();
  void notify() noexcept override;  // any thread

  boost::asio::io_context& context_;
  const broker::TopicTable& topics_;
  const TopicQuestion question_;
  Counter& waiting_;
  const HttpExchange::Ptr exchange_;
  const Then then_;
  boost::asio::steady_timer timer_;
  // Keeps this alive in the wait room: set by the HTTP thread before it enters, cleared by the thread
  // that takes it out.
  std::shared_ptr<TopicPoll> in_room_;
  bool ended_ = false;
};

}  // namespace millrace::server
