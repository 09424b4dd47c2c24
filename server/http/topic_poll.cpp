#include "server/http/topic_poll.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <utility>

#include "core/broker/inbox.hpp"
#include "core/broker/topic_hash.hpp"
#include "protocol/properties.hpp"
#include "protocol/publish.hpp"
#include "server/http/topic_headers.hpp"

namespace millrace::server {

namespace {

// "2026-11-21T03:35:01.123Z"
std::string wall_time(std::int64_t age_ns) {
  using namespace std::chrono;
  const auto at = system_clock::now() - nanoseconds(age_ns);
  const auto ms = duration_cast<milliseconds>(at.time_since_epoch()).count();
  const std::time_t seconds = ms / 1000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char date[32], text[48];
  std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text, sizeof text, "%s.%03dZ", date, static_cast<int>(ms % 1000));
  return text;
}

std::string seconds_text(std::int64_t ns) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", static_cast<double>(ns) / 1e9);
  return text;
}

std::string content_type_of(const broker::Message& message) {
  if (message.has_properties) {
    const auto properties = protocol::decode_properties(
        message.properties().bytes, protocol::property_scope(protocol::PacketType::publish),
        protocol::Sender::client);
    if (properties && properties->content_type && valid_media_type(*properties->content_type)) {
      return *properties->content_type;
    }
    if (properties && properties->payload_format_indicator.value_or(0) == 1) {
      return "text/plain; charset=utf-8";
    }
  }
  return "application/octet-stream";
}

}  // namespace

TopicQuestion::TopicQuestion(const HttpRequest& request, std::string_view run,
                             std::uint32_t wait_seconds_max)
    : request_(request),
      run_(run),
      hash_(broker::topic_hash(request.rest)),
      wait_seconds_(std::min(preferred_wait_seconds(request).value_or(0), wait_seconds_max)) {}

TopicAnswer TopicQuestion::ask(const broker::TopicTable& topics) const {
  TopicAnswer answer;
  std::optional<TopicValue> value;
  {
    const auto reader = topics.reader();
    if (const broker::Topic* topic = reader.find(hash_, request_.rest)) {
      answer.version = topic->newest_slot.version();  // first: what is stored from here on is news
      value = value_of(*topic, broker::Inbox::now_ns());
    }
  }
  HttpResponse& response = answer.response;
  if (value) {
    answer.version = value->version;
    response = found(*value);
    answer.may_change = response.status == 304;
  } else {
    response.status = 404;
    response.body = "no value\n";
    answer.may_change = !has_none_match(request_);
  }
  response.headers.emplace_back("Cache-Control", "no-cache");
  if (wait_seconds() > 0) {
    response.headers.emplace_back("Preference-Applied", "wait=" + std::to_string(wait_seconds()));
  } else {
    answer.may_change = false;
  }
  return answer;
}

HttpResponse TopicQuestion::found(const TopicValue& value) const {
  HttpResponse response;
  const std::string etag = "\"" + run_ + "." + std::to_string(value.version) + "\"";
  response.headers.emplace_back("ETag", etag);
  if (none_match_names(request_, etag)) {
    response.status = 304;
    return response;
  }
  const broker::Message& message = value.message;
  const auto payload = message.payload();
  response.content_type = content_type_of(message);
  response.body.assign(reinterpret_cast<const char*>(payload.data()), payload.size());
  auto& headers = response.headers;
  headers.emplace_back("X-Millrace-Version", std::to_string(value.version));
  headers.emplace_back("X-Millrace-Published", wall_time(value.age_ns));
  headers.emplace_back("X-Millrace-Age-Seconds", seconds_text(value.age_ns));
  headers.emplace_back("X-Millrace-Retained", message.retain ? "true" : "false");
  headers.emplace_back("X-Millrace-QoS", std::to_string(message.qos));
  // Content and type come from a publisher: a browser must not run them as a page of this server.
  headers.emplace_back("Content-Security-Policy", "sandbox; default-src 'none'");
  return response;
}

bool TopicQuestion::is_news(const broker::TopicTable& topics, const TopicAnswer& answer) const {
  const auto reader = topics.reader();
  const broker::Topic* topic = reader.find(hash_, request_.rest);
  if (topic == nullptr) return false;  // a topic that was removed has no newer value
  return !answer.version || topic->newest_slot.version() != *answer.version;
}

TopicPoll::TopicPoll(boost::asio::io_context& context, const broker::TopicTable& topics,
                     TopicQuestion question, Counter& waiting, HttpExchange::Ptr exchange,
                     Then then)
    : context_(context),
      topics_(topics),
      question_(std::move(question)),
      waiting_(waiting),
      exchange_(std::move(exchange)),
      then_(std::move(then)),
      timer_(context) {}

void TopicPoll::start() {
  waiting_.add();
  // Weak, since the exchange is this poll's own.
  exchange_->on_gone([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->end();
  });
  if (ended_) return;
  timer_.expires_after(std::chrono::seconds(question_.wait_seconds()));
  timer_.async_wait([self = shared_from_this()](boost::system::error_code error) {
    if (error || self->ended_) return;
    self->end();
    self->then_(self->exchange_, self->question_.ask(self->topics_).response);
  });
  look();
}

// Answers, or enters the wait room until a value is stored.
void TopicPoll::look() {
  if (ended_) return;
  TopicAnswer answer = question_.ask(topics_);
  if (!answer.may_change) {
    end();
    return then_(exchange_, std::move(answer.response));
  }
  in_room_ = shared_from_this();
  const bool waits =
      topics_.wait(question_.hash(), *this, [&] { return question_.is_news(topics_, answer); });
  if (waits) return;  // and may have been notified already
  // A value was stored meanwhile: looks again, after the tasks that this thread has already.
  notify();
}

void TopicPoll::end() {
  if (std::exchange(ended_, true)) return;
  waiting_.subtract();
  timer_.cancel();
  // If it is not in the wait room any more, notify() has posted, or posts, a last look(), which does
  // nothing.
  if (topics_.leave(question_.hash(), *this)) in_room_ = nullptr;
}

void TopicPoll::notify() noexcept {
  boost::asio::post(context_, [self = std::move(in_room_)] { self->look(); });
}

}  // namespace millrace::server
