#include "server/http/connection.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <cassert>
#include <cstdio>
#include <iterator>
#include <sstream>

#include "server/auth/certificate.hpp"
#include "server/auth/login_delays.hpp"
#include "server/http/problem.hpp"
#include "server/http/target.hpp"
#include "server/net/http_host.hpp"
#include "server/net/peer_address.hpp"
#include "server/observe/log.hpp"

namespace millrace::server {

namespace beast = boost::beast;
namespace http = boost::beast::http;

namespace {

constexpr std::size_t read_bytes = 4096;
constexpr std::size_t pipelined_bytes_max = 16 * 1024;
constexpr std::size_t discarded_bytes_max = 1 << 20;
constexpr std::chrono::seconds lingering_time{2};
// Of a body in pieces, in the kernel and not yet on its way: what is there cannot be replaced by
// something newer any more.
constexpr int unsent_bytes_max = 16 * 1024;

// The others say nothing of a type or a size, either. (RFC 9110, sections 8.6 and 15.4.5)
constexpr bool has_content(unsigned status) {
  return status != 204 && status != 304;
}

}  // namespace

class HttpServer::Connection::Body final : public HttpBody {
 public:
  explicit Body(std::weak_ptr<Connection> connection) : connection_(std::move(connection)) {}
  void write(std::string piece) override {
    if (const auto connection = connection_.lock()) connection->write_piece(piece);
  }
  void end() override {
    if (const auto connection = connection_.lock()) connection->end_body();
  }
  void abort() override {
    if (const auto connection = connection_.lock()) connection->close();
  }
  void limit_writes(std::size_t bytes_max) override {
    if (const auto connection = connection_.lock()) connection->write_bytes_max_ = bytes_max;
  }
  int fd() const override {
    const auto connection = connection_.lock();
    if (!connection || connection->stage_ == Stage::closed) return -1;
    return connection->stream_.socket().native_handle();
  }

 private:
  const std::weak_ptr<Connection> connection_;  // has no other body, and no answer after it
};

HttpServer::Connection::Connection(HttpServer& server, const Listener& listener,
                                   boost::asio::ip::tcp::socket socket, PeerAddress peer,
                                   Shortage shortage)
    : server_(server),
      listener_(listener),
      peer_(std::move(peer)),
      address_(address_group(peer_.host)),
      shortage_(shortage),
      stream_(std::move(socket), listener.tls) {
  // A request fits, and what may be pipelined behind it.
  buffer_.max_size(server.config_.header_bytes_max + server.config_.body_bytes_max +
                   pipelined_bytes_max + read_bytes);
}

HttpServer::Connection::~Connection() {
  server_.forget(this);
}

void HttpServer::Connection::start() {
  if (!stream_.uses_tls()) return do_read();
  stage_ = Stage::handshake;
  stream_.expires_after(std::chrono::seconds(server_.config_.header_seconds));
  stream_.async_handshake(
      boost::asio::ssl::stream_base::server,
      [self = shared_from_this()](beast::error_code error) { self->on_handshake(error); });
}

void HttpServer::Connection::on_handshake(beast::error_code error) {
  if (stage_ == Stage::closed) return;
  if (!error) {
    // The files may have been read again since the handshake began.
    close_if_revoked();
    if (stage_ != Stage::closed) do_read();
    return;
  }
  log_refused_certificate(error);
  close();
}

// As the log has it of a client of MQTT. Other faults of a handshake are a stranger's business alone;
// this one may be for whoever runs the server to mend.
void HttpServer::Connection::log_refused_certificate(beast::error_code error) {
  const bool is_tls = error.category() == boost::asio::error::get_ssl_category();
  const char* why = certificate_refusal(
      stream_.ssl(), is_tls ? static_cast<unsigned long>(static_cast<unsigned>(error.value())) : 0);
  if (why == nullptr || !logs(LogLevel::warn)) return;
  const auto verdict = peer_log_limiter().ask(peer_.host + " https " + why);
  log(LogLevel::warn, "connection.end",
      {{"cause", "handshake_fault"},
       {"reason", why},
       {"listener", listener_.label},
       {"peer", peer_.host},
       {"port", peer_.port},
       {"suppressed", verdict.suppressed}},
      !verdict.log);
}

void HttpServer::Connection::close_if_revoked() {
  if (!listener_.tls || stream_.certificate_holds(*listener_.tls)) return;
  server_.counters_.connections_revoked.add();
  close();
}

// Waits for the first bytes of a request.
void HttpServer::Connection::do_read() {
  stage_ = Stage::idle;
  since_ = Clock::now();
  if (buffer_.size() > 0) return do_read_header();
  stream_.expires_after(std::chrono::seconds(server_.config_.idle_seconds));
  stream_.async_read_some(buffer_.prepare(read_bytes),
                          [self = shared_from_this()](beast::error_code error, std::size_t bytes) {
                            if (error || self->stage_ == Stage::closed) return self->close();
                            self->buffer_.commit(bytes);
                            self->do_read_header();
                          });
}

void HttpServer::Connection::do_read_header() {
  stage_ = Stage::header;
  parser_.emplace();
  parser_->header_limit(server_.config_.header_bytes_max);
  parser_->body_limit(server_.config_.body_bytes_max);
  stream_.expires_after(std::chrono::seconds(server_.config_.header_seconds));
  http::async_read_header(stream_, buffer_, *parser_,
                          [self = shared_from_this()](beast::error_code error, std::size_t) {
                            self->on_header(error);
                          });
}

void HttpServer::Connection::on_header(beast::error_code error) {
  if (stage_ == Stage::closed) return;
  if (error) return on_read_error(error);
  if (!check_host()) return;
  stage_ = Stage::body;
  stream_.expires_after(std::chrono::seconds(server_.config_.timeout_seconds));
  http::async_read(
      stream_, buffer_, *parser_,
      [self = shared_from_this()](beast::error_code error, std::size_t) { self->on_read(error); });
}

void HttpServer::Connection::on_read(beast::error_code error) {
  if (stage_ == Stage::closed) return;
  error ? on_read_error(error) : hand_over();
}

void HttpServer::Connection::on_read_error(beast::error_code error) {
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
  refused_ = true;
  HttpResponse response;
  response.status = status;
  response.body = why;
  if (parser_) {
    const auto target = parser_->get().target();  // perhaps in the absolute form
    const auto path = split_target({target.data(), target.size()}).path;
    response = refusal_at(path, std::move(response));
  }
  do_write(std::move(response));
}

// RFC 9112, section 3.2: one Host, and HTTP/1.1 always says it. It must be one of ours.
bool HttpServer::Connection::check_host() {
  const auto& message = parser_->get();
  const auto fields = message.equal_range(http::field::host);
  const auto count = std::distance(fields.first, fields.second);
  if (count == 0 && message.version() < 11) return true;
  if (count != 1) {
    refuse(400, "there must be one Host\n");
    return false;
  }
  const std::string_view target(message.target().data(), message.target().size());
  std::string_view authority = split_target(target).authority;
  if (authority.empty()) authority = {fields.first->value().data(), fields.first->value().size()};
  const auto host = host_of_authority(authority);
  if (host && server_.answers_for(*host)) return true;
  refuse(421, "this server does not answer for that host (http.hosts)\n");
  return false;
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
  request.peer = peer_.host;
  return true;
}

void HttpServer::Connection::hand_over() {
  if (buffer_.size() > pipelined_bytes_max) return close();
  HttpRequest request;
  if (!make_request(request)) return refuse(400, "malformed request target\n");
  is_head_ = parser_->get().method() == http::verb::head;
  keep_alive_ = parser_->get().keep_alive() && !is_reserved();
  stage_ = Stage::handling;
  stream_.expires_never();
  const std::uint64_t serial = ++serial_;
  auto deliver = [weak = weak_from_this(), executor = stream_.get_executor(),
                  serial](HttpResponse response) {
    boost::asio::post(executor, [weak, serial, response = std::move(response)]() mutable {
      if (const auto self = weak.lock()) self->answer(serial, std::move(response));
    });
  };
  auto begin = [weak = weak_from_this(), serial](HttpResponse head, std::function<void()> taken) {
    const auto self = weak.lock();
    return self ? self->begin(serial, std::move(head), std::move(taken)) : nullptr;
  };
  auto exchange = std::make_shared<HttpExchange>(std::move(request), std::move(deliver), begin);
  exchange_ = exchange;
  do_watch();
  server_.dispatch(std::move(exchange), listener_, shortage_);
}

// Reads on while a handler works, to learn that the client went; its next requests stay in the
// buffer until the answer went out. This read also keeps the connection alive meanwhile.
void HttpServer::Connection::do_watch() {
  watching_ = true;
  stream_.async_read_some(buffer_.prepare(read_bytes),
                          [self = shared_from_this()](beast::error_code error, std::size_t bytes) {
                            self->watching_ = false;
                            self->buffer_.commit(bytes);
                            const bool streams = self->stage_ == Stage::streaming;
                            if (self->stage_ != Stage::handling && !streams) return;
                            if (self->answer_) {
                              auto answer = std::move(*self->answer_);
                              self->answer_.reset();
                              return self->do_write(std::move(answer));
                            }
                            const bool too_much = self->buffer_.size() > pipelined_bytes_max;
                            error || too_much ? self->close() : self->do_watch();
                          });
}

void HttpServer::Connection::answer(std::uint64_t serial, HttpResponse response) {
  if (stage_ != Stage::handling || answer_ || serial != serial_) return;
  if (!watching_) return do_write(std::move(response));
  answer_ = std::move(response);
  stream_.cancel();  // the next read begins with a request
}

void HttpServer::Connection::do_write(HttpResponse answer) {
  stage_ = Stage::writing;
  server_.counters_.responses[std::min(5u, answer.status / 100)].add();
  response_.emplace(static_cast<http::status>(answer.status), parser_->get().version());
  Response& response = *response_;
  set_head(response, answer);
  response.body() = std::move(answer.body);
  if (has_content(answer.status)) response.prepare_payload();
  if (is_head_) response.body().clear();  // Content-Length stays what GET would say
  stream_.expires_after(std::chrono::seconds(server_.config_.timeout_seconds));
  http::async_write(
      stream_, response,
      [self = shared_from_this()](beast::error_code error, std::size_t) { self->on_write(error); });
}

void HttpServer::Connection::set_head(Response& response, HttpResponse& answer) {
  response.set(http::field::server, "millrace");
  if (has_content(answer.status)) response.set(http::field::content_type, answer.content_type);
  for (const auto& [name, value] : answer.headers) response.insert(name, value);
  // The content type above holds: a browser must not guess another one from the content.
  response.set("X-Content-Type-Options", "nosniff");
  response.keep_alive(keep_alive_);
}

// --- A body in pieces ----------------------------------------------------------------------------

std::shared_ptr<HttpBody> HttpServer::Connection::begin(std::uint64_t serial, HttpResponse head,
                                                        std::function<void()> taken) {
  if (stage_ != Stage::handling || answer_ || serial != serial_) return nullptr;
  stage_ = Stage::streaming;
  keep_alive_ = false;
  server_.counters_.responses[std::min(5u, head.status / 100)].add();
  chunked_ = parser_->get().version() >= 11;
  Response response(static_cast<http::status>(head.status), parser_->get().version());
  set_head(response, head);
  if (chunked_) response.chunked(true);
  std::ostringstream text;
  text << response.base();
  outgoing_ = text.str();
  taken_ = std::move(taken);
  ::setsockopt(stream_.socket().native_handle(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent_bytes_max,
               sizeof unsent_bytes_max);
  // A piece is all that there is now: it does not wait for the next one.
  beast::error_code ignored;
  stream_.socket().set_option(boost::asio::ip::tcp::no_delay(true), ignored);
  return std::make_shared<Body>(weak_from_this());
}

void HttpServer::Connection::write_piece(std::string_view piece) {
  if (stage_ != Stage::streaming || body_ended_) return;
  assert(!piece.empty());  // would be the end of a chunked body
  if (chunked_) {
    char size[20];
    std::snprintf(size, sizeof size, "%zx\r\n", piece.size());
    outgoing_ += size;
  }
  outgoing_ += piece;
  if (chunked_) outgoing_ += "\r\n";
  do_write_piece();
}

void HttpServer::Connection::end_body() {
  if (stage_ != Stage::streaming || body_ended_) return;
  body_ended_ = true;
  if (chunked_) outgoing_ += "0\r\n\r\n";
  if (outgoing_.empty()) return close();
  do_write_piece();
}

// As long as something of it is taken, a piece takes its time: a large one over a slow link.
void HttpServer::Connection::do_write_piece() {
  stream_.expires_after(std::chrono::seconds(server_.config_.timeout_seconds));
  const auto rest = boost::asio::buffer(outgoing_) + written_bytes_;
  stream_.async_write_some(boost::asio::buffer(rest, write_bytes_max_),
                           [self = shared_from_this()](beast::error_code error, std::size_t bytes) {
                             if (self->stage_ != Stage::streaming) return;
                             self->written_bytes_ += bytes;
                             if (!error && self->written_bytes_ < self->outgoing_.size())
                               return self->do_write_piece();
                             self->outgoing_.clear();
                             self->written_bytes_ = 0;
                             if (error || self->body_ended_) return self->close();
                             const auto taken = self->taken_;  // may end this connection
                             taken();
                           });
}

void HttpServer::Connection::on_write(beast::error_code error) {
  if (stage_ == Stage::closed) return;
  if (error) return close();
  if (keep_alive_) return do_read();
  if (!refused_) return close();
  beast::error_code ignored;
  stream_.socket().shutdown(boost::asio::ip::tcp::socket::shutdown_send, ignored);
  stage_ = Stage::lingering;
  since_ = Clock::now();
  stream_.expires_after(lingering_time);
  do_linger();
}

// Throws away what the client still sends: closing on it would reset the answer.
void HttpServer::Connection::do_linger() {
  buffer_.clear();
  stream_.async_read_some(buffer_.prepare(read_bytes),
                          [self = shared_from_this()](beast::error_code error, std::size_t bytes) {
                            self->discarded_bytes_ += bytes;
                            const bool over = self->discarded_bytes_ > discarded_bytes_max;
                            error || over ? self->close() : self->do_linger();
                          });
}

void HttpServer::Connection::close() {
  if (stage_ == Stage::closed) return;
  stage_ = Stage::closed;
  taken_ = nullptr;
  server_.forget(this);
  if (const auto exchange = exchange_.lock()) exchange->gone();
  beast::error_code ignored;
  stream_.socket().shutdown(boost::asio::ip::tcp::socket::shutdown_send, ignored);
  stream_.close();
}

}  // namespace millrace::server
