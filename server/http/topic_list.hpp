// GET /topics?filter=a/%23&limit=1000&after=a/b: the topics that match, as JSON, ordered by name.
//
// The walk goes beside the processor, a piece at a time, so that a million topics hold up neither
// messages nor a scrape (topic_lists.hpp); topics that come or go meanwhile may be in it or not.
// What it keeps is bounded: the first `limit` names, and never more than bytes_max.
//
// Threads: the HTTP thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/broker/topic_table.hpp"
#include "server/auth/access.hpp"
#include "server/http/server.hpp"

namespace millrace::server {

struct TopicListQuery {
  static constexpr std::uint32_t limit_default = 1000;
  static constexpr std::uint32_t limit_max = 10'000;

  std::string filter = "#";
  std::uint32_t limit = limit_default;
  std::string after;  // only names greater than this one
};

// The query of a request; if it makes no sense, `fault` says why.
std::optional<TopicListQuery> parse_topic_list_query(const HttpRequest& request,
                                                     std::string& fault);

class TopicList : public std::enable_shared_from_this<TopicList> {
 public:
  TopicList(const broker::TopicTable& topics, TopicListQuery query, Grants::ReadRules rules,
            HttpExchange::Ptr exchange);

  // Notices from here on if the client goes.
  void start();
  bool is_gone() const { return gone_; }
  // Goes on for about a millisecond; true: it is answered, or nobody waits any more.
  bool step();

 private:
  static constexpr std::size_t bytes_max = 4 << 20;
  static constexpr std::chrono::milliseconds slice{1};

  struct Row {
    std::uint64_t version;
    std::uint32_t bytes;
    double age_seconds;
    bool retained;
    std::uint8_t qos;
  };

  void answer_one();
  void answer();
  void consider(const broker::Topic& topic);
  void drop_greatest();
  std::string json() const;

  const broker::TopicTable& topics_;
  const TopicListQuery query_;
  const Grants::ReadRules rules_;  // asked about each topic; null: none
  const HttpExchange::Ptr exchange_;
  const std::int64_t now_ns_;
  latest::IndexCursor cursor_;
  std::map<std::string, Row, std::less<>> rows_;
  std::size_t bytes_ = 0;
  std::optional<std::string> cut_;  // the least name that there was no room for
  bool gone_ = false;
};

}  // namespace millrace::server
