// A processor, its inbox and an HTTP server with the routes of the topics; clients that block.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "core/broker/inbox.hpp"
#include "core/broker/processor.hpp"
#include "protocol/properties.hpp"
#include "server/http/events.hpp"
#include "server/http/topics.hpp"

namespace millrace::server {

inline std::shared_ptr<const Access> access_of(const AccessConfig& config) {
  std::vector<ConfigFault> faults;
  auto access = Access::make(config, faults);
  if (!access) std::abort();
  return access;
}

inline void wait_for(const std::function<bool()>& event) {
  while (!event()) std::this_thread::yield();
}

struct Published {
  std::string topic;
  std::string payload;
  bool retain = false;
  int qos = 0;
  protocol::Properties properties = {};
  std::int64_t age_ns = 0;
};

class TopicsWorld {
 public:
  explicit TopicsWorld(HttpConfig http_config = {}, AccessConfig access = {},
                       broker::ProcessorLimits limits = {}, bool starts_processor = true)
      : processor(limits),
        inbox(broker::InboxLimits{}, processor),
        http(on_any_port(http_config)),
        routes(http, processor.topics(), http_config, worker, access_of(access)),
        events(http, inbox, routes, event_options(http_config), latest) {
    if (starts_processor) inbox.start();
    http.start();
  }
  ~TopicsWorld() {
    worker.stop();
    http.stop();
    inbox.stop();
  }

  // Returns when the value can be read.
  void publish(const Published& what) {
    submit(what);
    wait_for([this] { return inbox.idle(); });
  }
  void publish(std::string topic, std::string payload) {
    publish({.topic = std::move(topic), .payload = std::move(payload)});
  }
  void submit(const Published& what) {
    broker::Message message = message_of(what);
    const std::uint32_t bytes = message.packet_bytes;
    broker::Command command{nullptr, broker::command::Publish{std::move(message), bytes}};
    while (inbox.submit({&command, 1}) == 0) std::this_thread::yield();
  }
  // As what one read has brought: neighbours in one buffer, submitted together.
  void submit_together(const std::vector<Published>& all) {
    std::vector<broker::Message> messages;
    std::uint32_t bytes = 0;
    for (const Published& one : all) {
      messages.push_back(message_of(one));
      messages.back().packet_offset = std::exchange(bytes, bytes + messages.back().packet_bytes);
    }
    const broker::BufferRef buffer = broker::Buffer::allocate(bytes);
    buffer->received_ns = broker::Inbox::now_ns();
    std::vector<broker::Command> commands;
    for (broker::Message& message : messages) {
      const broker::BufferRef own = std::exchange(message.buffer, buffer);
      std::copy_n(own->data(), message.packet_bytes, buffer->data() + message.packet_offset);
      const std::uint32_t packet_bytes = message.packet_bytes;
      commands.push_back({nullptr, broker::command::Publish{std::move(message), packet_bytes}});
    }
    ASSERT_EQ(inbox.submit(commands), all.size());
  }
  void wait_for_polls(std::uint64_t count) {
    wait_for([&] { return routes.counters().long_polls.value() == count; });
  }

  broker::Processor processor;
  broker::Inbox inbox;
  Worker worker;
  HttpServer http;
  TopicRoutes routes;
  EventRoutes events;

  static EventRoutes::Delivery latest(std::string_view, std::string_view,
                                      std::optional<double> max_rate_hz) {
    const double ms = max_rate_hz ? 1000 / *max_rate_hz : 0;
    return {broker::Mode::latest, broker::rate_limit(static_cast<std::uint32_t>(ms))};
  }

 private:
  static broker::Message message_of(const Published& what) {
    std::vector<std::uint8_t> properties;
    protocol::encode_properties(
        what.properties, protocol::property_scope(protocol::PacketType::publish), properties);
    broker::MessageParts parts;
    parts.topic = what.topic;
    parts.payload = {reinterpret_cast<const std::uint8_t*>(what.payload.data()),
                     what.payload.size()};
    parts.retain = what.retain;
    parts.qos = static_cast<std::uint8_t>(what.qos);
    parts.packet_id = what.qos > 0 ? 1 : 0;
    parts.properties.bytes = std::span(properties).subspan(1);  // their length is one byte
    return broker::build_message(parts, broker::Inbox::now_ns() - what.age_ns);
  }
  static EventRoutes::Options event_options(const HttpConfig& config) {
    EventRoutes::Options options;
    options.streams_max = config.event_streams_max;
    options.heartbeat = std::chrono::milliseconds(100);
    return options;
  }
  static HttpConfig on_any_port(HttpConfig config) {
    config.port = 0;
    return config;
  }
};

class HttpClient {
 public:
  using Response = boost::beast::http::response<boost::beast::http::string_body>;
  using Headers = std::vector<std::pair<std::string, std::string>>;

  explicit HttpClient(TopicsWorld& world) {
    socket_.connect({boost::asio::ip::make_address("127.0.0.1"), world.http.port()});
  }

  void send(std::string_view target, const Headers& headers = {}, std::string_view method = "GET") {
    is_head_ = method == "HEAD";
    std::string request = std::string(method) + " " + std::string(target) + " HTTP/1.1\r\n";
    request += "Host: localhost\r\n";
    for (const auto& [name, value] : headers) request += name + ": " + value + "\r\n";
    boost::asio::write(socket_, boost::asio::buffer(request + "\r\n"));
  }
  Response receive() {
    boost::beast::http::response_parser<boost::beast::http::string_body> parser;
    parser.skip(is_head_);
    boost::beast::http::read(socket_, buffer_, parser);
    return parser.release();
  }
  Response get(std::string_view target, const Headers& headers = {},
               std::string_view method = "GET") {
    send(target, headers, method);
    return receive();
  }
  void close() { socket_.close(); }

 private:
  boost::asio::io_context context_;
  boost::asio::ip::tcp::socket socket_{context_};
  boost::beast::flat_buffer buffer_;
  bool is_head_ = false;
};

}  // namespace millrace::server
