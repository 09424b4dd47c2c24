// GET /api/v1/topics?filter=a/%23: the topics that match with their values, however many, in one
// answer that is made while it is sent: what it keeps is one segment of the index and one piece.
//
// The order is that of the index. A topic that comes or goes meanwhile may be in it or not. A slow
// reader may take long: when its rights are not those of the beginning any more, the answer breaks off.
//
// Threads: the HTTP thread. It goes beside the processor.
#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/broker/topic_table.hpp"
#include "server/auth/access.hpp"
#include "server/http/event_text.hpp"
#include "server/http/server.hpp"
#include "server/http/topic_value.hpp"

namespace millrace::server {

struct TopicValuesQuery {
  std::string filter = "#";
  ValueForm form;
};
// The query of a request; if it makes no sense, `fault` says why.
std::optional<TopicValuesQuery> parse_topic_values_query(const HttpRequest& request,
                                                         std::string& fault);

class TopicValues : public std::enable_shared_from_this<TopicValues> {
 public:
  // `may_go_on`: what `rules` were granted by still holds.
  TopicValues(boost::asio::io_context& context, const broker::TopicTable& topics,
              TopicValuesQuery query, Grants::ReadRules rules, std::function<bool()> may_go_on,
              HttpExchange::Ptr exchange);

  void start();

 private:
  static constexpr std::size_t piece_bytes = 64 * 1024;
  static constexpr std::chrono::milliseconds slice{1};

  void go_on();
  bool fill();
  void collect();
  void consider(const broker::Topic& topic);

  boost::asio::io_context& context_;
  const broker::TopicTable& topics_;
  const TopicValuesQuery query_;
  const Grants::ReadRules rules_;  // asked about each topic; null: none
  const std::function<bool()> may_go_on_;
  HttpExchange::Ptr exchange_;
  std::shared_ptr<HttpBody> body_;
  latest::IndexCursor cursor_;
  bool walked_ = false;
  std::deque<TopicValue> values_;  // found and not yet rendered
  std::string piece_;
  bool first_ = true;
  bool finished_ = false;  // the last piece is being sent
  bool gone_ = false;      // nobody waits for the rest
};

}  // namespace millrace::server
