#include "server/api/topic_values.hpp"

#include <boost/asio/post.hpp>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/broker/inbox.hpp"
#include "core/broker/topic_hash.hpp"
#include "protocol/topic.hpp"
#include "server/http/target.hpp"

namespace millrace::server {

namespace {

std::string fault_of(const std::string& name, const std::string& value, TopicValuesQuery& query) {
  if (name == "filter") {
    if (protocol::has_prefix(value)) {
      return "filter: without its prefix, please: " + value;
    }
    if (!protocol::valid_topic_filter(value))
      return "filter: not a topic filter: \"" + value + "\"";
    query.filter = value;
  } else if (name == "payload") {
    if (value == "text") {
      query.form.payload = PayloadForm::text;
    } else if (value == "base64") {
      query.form.payload = PayloadForm::base64;
    } else if (value == "none") {
      query.form.payload = PayloadForm::none;
    } else {
      return "payload: text, base64 or none";
    }
  } else if (name == "payload_bytes_max") {
    const auto bytes = parse_number<std::uint32_t>(value);
    if (!bytes) return "payload_bytes_max: not a number";
    query.form.payload_bytes_max = *bytes;
  } else {
    return "unknown parameter: " + name + " (there are filter, payload, payload_bytes_max)";
  }
  return "";
}

}  // namespace

std::optional<TopicValuesQuery> parse_topic_values_query(const HttpRequest& request,
                                                         std::string& fault) {
  TopicValuesQuery query;
  for (const auto& [name, value] : request.query) {
    fault = fault_of(name, value, query);
    if (!fault.empty()) return std::nullopt;
  }
  return query;
}

TopicValues::TopicValues(boost::asio::io_context& context, const broker::TopicTable& topics,
                         TopicValuesQuery query, Grants::ReadRules rules,
                         std::function<bool()> may_go_on, HttpExchange::Ptr exchange)
    : context_(context),
      topics_(topics),
      query_(std::move(query)),
      rules_(std::move(rules)),
      may_go_on_(std::move(may_go_on)),
      exchange_(std::move(exchange)) {}

void TopicValues::start() {
  HttpResponse head;
  head.content_type = "application/json";
  head.headers.emplace_back("Cache-Control", "no-store");
  // The connection keeps this, by what it is to call, until it is closed; and this the connection's
  // exchange.
  body_ = exchange_->begin(std::move(head), [self = shared_from_this()] {
    if (self->finished_) return self->body_->end();
    boost::asio::post(self->context_, [self] { self->go_on(); });
  });
  if (body_ == nullptr) return;
  exchange_->on_gone([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->gone_ = true;
  });
  piece_ = "{\"topics\":[";
  go_on();
}

// Sends the next piece; or leaves the thread to others after a slice without one.
void TopicValues::go_on() {
  if (gone_) return;
  if (!may_go_on_()) return body_->abort();
  if (fill()) return body_->write(std::exchange(piece_, {}));
  boost::asio::post(context_, [self = shared_from_this()] { self->go_on(); });
}

// True: there is a piece to send.
bool TopicValues::fill() {
  const auto end = std::chrono::steady_clock::now() + slice;
  const std::int64_t now_ns = broker::Inbox::now_ns();
  while (piece_.size() < piece_bytes) {
    if (values_.empty()) {
      if (walked_) {
        piece_ += "]}\n";
        finished_ = true;
        return true;
      }
      collect();
    } else {
      const broker::Message& message = values_.front().message;
      piece_ += std::exchange(first_, false) ? "\n" : ",\n";
      piece_ += value_json(message, message.retain, now_ns, query_.form)
                    .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
      values_.pop_front();
    }
    if (std::chrono::steady_clock::now() >= end) break;
  }
  return piece_.size() >= piece_bytes;
}

// The next segment's values. A filter without wildcards is a name.
void TopicValues::collect() {
  const auto reader = topics_.reader();
  if (query_.filter.find_first_of("+#") == std::string::npos) {
    const auto* topic = reader.find(broker::topic_hash(query_.filter), query_.filter);
    if (topic != nullptr) consider(*topic);
    walked_ = true;
  } else {
    reader.walk(cursor_, [this](const broker::Topic& topic) { consider(topic); });
    walked_ = cursor_.done();
  }
}

void TopicValues::consider(const broker::Topic& topic) {
  if (!protocol::matches(query_.filter, topic.name())) return;
  if (rules_ && !rules_->permit(topic.name())) return;
  if (auto value = value_of(topic, broker::Inbox::now_ns())) values_.push_back(std::move(*value));
}

}  // namespace millrace::server
