#include "server/http/connection.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>

#include "server/http/target.hpp"

namespace millrace::server {

namespace beast = boost::beast;
namespace http = boost::beast::http;

HttpServer::Connection::Connection(HttpServer& server, boost::asio::ip::tcp::socket socket)
    : server_(server), stream_(std::move(socket)) {
  // A request's header fits; a pipelined one may begin behind it.
  buffer_.max_size(server.config_.header_bytes_max + server.config_.body_bytes_max + 4096);
}

HttpServer::Connection::~Connection() {
  server_.forget(this);
}

void HttpServer::Connection::do_read() {
  parser_.emplace();
  parser_->header_limit(server_.config_.header_bytes_max);
  parser_->body_limit(server_.config_.body_bytes_max);
  stream_.expires_after(std::chrono::seconds(server_.config_.timeout_seconds));
  http::async_read(
      stream_, buffer_, *parser_,
      [self = shared_from_this()](beast::error_code error, std::size_t) { self->on_read(error); });
}

void HttpServer::Connection::on_read(beast::error_code error) {
  if (!error) return hand_over();
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    return refuse(431, "request header too large\n");
  }
  if (error == http::error::body_limit) return refuse(413, "request body too large\n");
  if (error.category() == make_error_code(http::error::bad_method).category() &&
      error != http::error::end_of_stream && error != http::error::partial_message) {
    return refuse(400, "malformed request\n");
  }
  close();  // gone, or silent for too long
}

// The connection cannot be used after a request that was not understood.
void HttpServer::Connection::refuse(unsigned status, const char* why) {
  is_head_ = false;
  keep_alive_ = false;
  HttpResponse response;
  response.status = status;
  response.body = why;
  do_write(std::move(response));
}

bool HttpServer::Connection::make_request(HttpRequest& request) const {
  const auto& message = parser_->get();
  const std::string_view target(message.target().data(), message.target().size());
  request.method = std::string(message.method_string());
  if (!parse_http_target(target, request.path, request.query)) return false;
  for (const auto& field : message) {
    std::string name(field.name_string());
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    request.headers.emplace_back(std::move(name), std::string(field.value()));
  }
  request.body = message.body();
  beast::error_code ignored;
  request.peer = stream_.socket().remote_endpoint(ignored).address().to_string();
  return true;
}

void HttpServer::Connection::hand_over() {
  HttpRequest request;
  if (!make_request(request)) return refuse(400, "malformed request target\n");
  is_head_ = parser_->get().method() == http::verb::head;
  keep_alive_ = parser_->get().keep_alive();
  waiting_ = true;
  stream_.expires_never();  // how long a handler may take is its own affair
  const std::uint64_t serial = ++serial_;
  auto deliver = [weak = weak_from_this(), executor = stream_.get_executor(),
                  serial](HttpResponse response) {
    boost::asio::post(executor, [weak, serial, response = std::move(response)]() mutable {
      if (const auto self = weak.lock()) self->answer(serial, std::move(response));
    });
  };
  auto exchange = std::make_shared<HttpExchange>(std::move(request), std::move(deliver));
  exchange_ = exchange;
  do_watch();
  server_.dispatch(std::move(exchange));
}

// Watches the socket while a handler works: only to learn that the client went.
void HttpServer::Connection::do_watch() {
  if (buffer_.size() > 0) return keep_waiting();  // pipelined bytes already: it is alive
  watching_ = true;
  stream_.socket().async_wait(boost::asio::ip::tcp::socket::wait_read,
                              [self = shared_from_this()](beast::error_code error) {
                                self->watching_ = false;
                                if (error || !self->waiting_) return;
                                self->on_readable();
                              });
}

// Readable: the next request (left where it is until the answer went out), or the end.
void HttpServer::Connection::on_readable() {
  char byte;
  beast::error_code error;
  auto& socket = stream_.socket();
  socket.receive(boost::asio::buffer(&byte, 1), boost::asio::socket_base::message_peek, error);
  if (!error || error == boost::asio::error::would_block) return keep_waiting();
  close();
}

// The answer's own references keep nothing alive here, so the connection holds on to itself.
void HttpServer::Connection::keep_waiting() {
  self_ = shared_from_this();
}

void HttpServer::Connection::answer(std::uint64_t serial, HttpResponse response) {
  if (!waiting_ || serial != serial_) return;
  waiting_ = false;
  const auto self = std::exchange(self_, nullptr);
  beast::error_code ignored;
  if (watching_) stream_.socket().cancel(ignored);
  do_write(std::move(response));
}

void HttpServer::Connection::do_write(HttpResponse answer) {
  server_.counters_.responses[std::min(5u, answer.status / 100)].add();
  response_.emplace(static_cast<http::status>(answer.status), parser_->get().version());
  Response& response = *response_;
  response.set(http::field::server, "millrace");
  const bool not_modified = answer.status == 304;  // has no content, and says nothing of its size
  if (!not_modified) response.set(http::field::content_type, answer.content_type);
  for (const auto& [name, value] : answer.headers) response.insert(name, value);
  response.keep_alive(keep_alive_);
  response.body() = std::move(answer.body);
  if (!not_modified) response.prepare_payload();
  if (is_head_) response.body().clear();  // Content-Length stays what GET would say
  stream_.expires_after(std::chrono::seconds(server_.config_.timeout_seconds));
  http::async_write(
      stream_, response,
      [self = shared_from_this()](beast::error_code error, std::size_t) { self->on_write(error); });
}

void HttpServer::Connection::on_write(beast::error_code error) {
  if (error || !keep_alive_) return close();
  do_read();
}

void HttpServer::Connection::close() {
  waiting_ = false;
  if (const auto exchange = exchange_.lock()) exchange->gone();
  beast::error_code ignored;
  stream_.socket().shutdown(boost::asio::ip::tcp::socket::shutdown_send, ignored);
  stream_.close();
  self_ = nullptr;
}

}  // namespace millrace::server
