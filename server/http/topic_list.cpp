#include "server/http/topic_list.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/broker/inbox.hpp"
#include "core/broker/topic_hash.hpp"
#include "protocol/topic.hpp"
#include "server/http/topic_value.hpp"

namespace millrace::server {

namespace {

bool parse_limit(std::string_view text, std::uint32_t& limit) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (end != text.data() + text.size() || error == std::errc::invalid_argument) return false;
  if (error == std::errc::result_out_of_range) number = TopicListQuery::limit_max;
  if (number == 0) return false;
  limit = static_cast<std::uint32_t>(std::min<std::uint64_t>(number, TopicListQuery::limit_max));
  return true;
}

}  // namespace

std::optional<TopicListQuery> parse_topic_list_query(const HttpRequest& request,
                                                     std::string& fault) {
  TopicListQuery query;
  for (const auto& [name, value] : request.query) {
    if (name == "filter") {
      query.filter = value;
    } else if (name == "after") {
      query.after = value;
    } else if (name == "limit") {
      if (!parse_limit(value, query.limit)) fault = "limit: not a number of topics: " + value;
    } else if (name == "sort") {
      if (value != "name" && value != "age") fault = "sort: name or age";
      query.sort = value == "age" ? TopicListQuery::Sort::age : TopicListQuery::Sort::name;
    } else {
      fault = "unknown parameter: " + name + " (there are filter, sort, limit and after)";
    }
  }
  // Ages change from one request to the next, so they have no pages.
  if (query.sort == TopicListQuery::Sort::age && !query.after.empty()) {
    fault = "after: goes with sort=name alone";
  }
  const std::string& filter = query.filter;
  if (protocol::has_prefix(filter)) {
    fault = "filter: without its prefix, please: " + filter;
  } else if (!protocol::valid_topic_filter(filter)) {
    fault = "filter: not a topic filter: \"" + filter +
            "\" (# stands alone and last, + alone on its level; in a URL, # is %23 and + is %2B)";
  }
  return fault.empty() ? std::optional(std::move(query)) : std::nullopt;
}

TopicList::TopicList(const broker::TopicTable& topics, TopicListQuery query,
                     Grants::ReadRules rules, HttpExchange::Ptr exchange)
    : topics_(topics),
      query_(std::move(query)),
      rules_(std::move(rules)),
      exchange_(std::move(exchange)),
      now_ns_(broker::Inbox::now_ns()) {}

void TopicList::start() {
  exchange_->on_gone([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->gone_ = true;
  });
}

bool TopicList::step() {
  if (gone_) return true;
  if (query_.filter.find_first_of("+#") == std::string::npos) {
    answer_one();
    return true;
  }
  const auto end = std::chrono::steady_clock::now() + slice;
  while (!cursor_.done()) {
    topics_.reader().walk(cursor_, [this](const broker::Topic& topic) { consider(topic); });
    if (std::chrono::steady_clock::now() >= end) break;
  }
  if (!cursor_.done()) return false;
  answer();
  return true;
}

// A filter without wildcards is a name.
void TopicList::answer_one() {
  {
    const auto reader = topics_.reader();
    const std::uint64_t hash = broker::topic_hash(query_.filter);
    if (const auto* topic = reader.find(hash, query_.filter)) consider(*topic);
  }
  answer();
}

void TopicList::answer() {
  HttpResponse response;
  response.content_type = "application/json";
  response.body = json();
  response.headers.emplace_back("Cache-Control", "no-store");
  exchange_->answer(std::move(response));
}

void TopicList::consider(const broker::Topic& topic) {
  const std::string_view name = topic.name();
  const bool by_age = query_.sort == TopicListQuery::Sort::age;
  if (name <= query_.after || (!by_age && is_cut({0, name}))) return;
  if (!protocol::matches(query_.filter, name)) return;
  const auto value = value_of(topic, now_ns_);
  if (!value) return;
  const broker::Message& message = value->message;
  const PlaceView place(by_age ? -message.buffer->received_ns : 0, name);
  if (is_cut(place)) return;
  if (rules_ && !rules_->permit(name)) return;
  const double age_ms = std::round(static_cast<double>(value->age_ns) / 1e6);
  const Row row{value->version, message.payload_bytes(), age_ms / 1000, message.retain,
                message.qos};
  if (!rows_.emplace(place, row).second) return;  // the name was removed and came back meanwhile
  bytes_ += name.size();
  while (rows_.size() > query_.limit || bytes_ > bytes_max) drop_last();
}

// Places from the dropped one on are not taken in again, so that what is kept has no holes.
void TopicList::drop_last() {
  const auto last = std::prev(rows_.end());
  bytes_ -= last->first.second.size();
  cut_ = last->first;
  rows_.erase(last);
}

std::string TopicList::json() const {
  nlohmann::ordered_json topics = nlohmann::ordered_json::array();
  for (const auto& [place, row] : rows_) {
    topics.push_back({{"topic", place.second},
                      {"version", row.version},
                      {"size", row.bytes},
                      {"age_seconds", row.age_seconds},
                      {"retained", row.retained},
                      {"qos", row.qos}});
  }
  nlohmann::ordered_json list = {
      {"filter", query_.filter}, {"limit", query_.limit}, {"truncated", cut_.has_value()}};
  if (cut_ && !rows_.empty() && query_.sort == TopicListQuery::Sort::name) {
    list["after"] = rows_.rbegin()->first.second;
  }
  list["topics"] = std::move(topics);
  return list.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace millrace::server
