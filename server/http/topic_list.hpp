// GET /topics?filter=a/%23&limit=1000&after=a/b: the topics that match, as JSON, ordered by name;
// with sort=age, the newest first.
//
// The walk goes beside the processor, a piece at a time, so that a million topics hold up neither
// messages nor a scrape (topic_lists.hpp); topics that come or go meanwhile may be in it or not.
// What it keeps is bounded: the first `limit` of the order, and never more than bytes_max.
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
#include <utility>

#include "core/broker/topic_table.hpp"
#include "server/auth/access.hpp"
#include "server/http/server.hpp"

namespace millrace::server {

struct TopicListQuery {
  static constexpr std::uint32_t limit_default = 1000;
  static constexpr std::uint32_t limit_max = 10'000;

  enum class Sort : std::uint8_t { name, age };

  std::string filter = "#";
  Sort sort = Sort::name;
  std::uint32_t limit = limit_default;
  std::string after;  // only names greater than this one; empty unless sorted by name
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

  // A topic's place in the order. By name: zero and the name. By age: when its value was received,
  // negated, so that the newest comes first, and the name.
  using Place = std::pair<std::int64_t, std::string>;
  using PlaceView = std::pair<std::int64_t, std::string_view>;

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
  bool is_cut(PlaceView place) const { return cut_ && place >= PlaceView(*cut_); }
  void drop_last();
  std::string json() const;

  const broker::TopicTable& topics_;
  const TopicListQuery query_;
  const Grants::ReadRules rules_;  // asked about each topic; null: none
  const HttpExchange::Ptr exchange_;
  const std::int64_t now_ns_;
  latest::IndexCursor cursor_;
  std::map<Place, Row> rows_;
  std::size_t bytes_ = 0;
  std::optional<Place> cut_;  // the first place that there was no room for
  bool gone_ = false;
};

}  // namespace millrace::server
