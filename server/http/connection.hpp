// One HTTP connection: reads a request, hands it over, writes the answer, and so on. Internal to
// server/http/; everything runs on the HTTP thread.
//
// Each stage has its own time: the handshake of TLS (http.header_seconds), waiting for a request
// (http.idle_seconds), for the rest of its header (http.header_seconds), for its body and for the
// answer to be taken (http.timeout_seconds); a handler has no limit. While it works, the connection
// reads on, so that a client that goes away is noticed at once (HttpExchange::on_gone), whatever it
// sent ahead; a client that sends more than pipelined_bytes_max ahead is closed. The same holds while
// a body is sent in pieces (HttpExchange::begin), which is the connection's last answer.
#pragma once

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "server/http/server.hpp"
#include "server/net/http_stream.hpp"
#include "server/net/peer_address.hpp"

namespace millrace::server {

class HttpServer::Connection : public std::enable_shared_from_this<HttpServer::Connection> {
 public:
  using Clock = std::chrono::steady_clock;

  // `peer`: the client's address.
  Connection(HttpServer& server, const Listener& listener, boost::asio::ip::tcp::socket socket,
             PeerAddress peer, Shortage shortage);
  ~Connection();

  void start();
  void close();
  // After its listener got a new TLS context: closes it, whatever it is doing, if that would not
  // accept the client's certificate.
  void close_if_revoked();

  // As limits for addresses count it.
  const std::string& address() const { return address_; }
  bool is_reserved() const { return shortage_ != Shortage::none; }
  // No whole request has come since the last answer. On a reserved place, a client that does not take
  // its answer counts as silent too: a monitor reads its answer at once.
  bool is_silent() const {
    if (stage_ == Stage::handling || stage_ == Stage::streaming) return false;
    return is_reserved() || stage_ != Stage::writing;
  }
  Clock::time_point silent_since() const { return since_; }

 private:
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;
  using Response = boost::beast::http::response<boost::beast::http::string_body>;
  enum class Stage : std::uint8_t {
    handshake,
    idle,
    header,
    body,
    handling,
    streaming,
    writing,
    lingering,
    closed
  };
  class Body;

  void on_handshake(boost::beast::error_code error);
  void log_refused_certificate(boost::beast::error_code error);
  void do_read();
  void do_read_header();
  void on_header(boost::beast::error_code error);
  void on_read(boost::beast::error_code error);
  void on_read_error(boost::beast::error_code error);
  void refuse(unsigned status, const char* why);
  bool check_host();
  void hand_over();
  void do_watch();
  void answer(std::uint64_t serial, HttpResponse response);
  std::shared_ptr<HttpBody> begin(std::uint64_t serial, HttpResponse head,
                                  std::function<void()> taken);
  void write_piece(std::string_view piece);
  void end_body();
  void do_write_piece();
  void set_head(Response& response, HttpResponse& answer);
  void do_write(HttpResponse response);
  void on_write(boost::beast::error_code error);
  void do_linger();
  bool make_request(HttpRequest& request) const;

  HttpServer& server_;
  const Listener& listener_;
  const PeerAddress peer_;
  const std::string address_;
  const Shortage shortage_;
  HttpStream stream_;
  boost::beast::flat_buffer buffer_;
  std::optional<Parser> parser_;  // a new one for each request
  std::optional<Response> response_;
  std::optional<HttpResponse> answer_;  // waits for the watching read to end
  // Of a body in pieces: what goes out now, with the head before the first one; who is told.
  std::string outgoing_;
  std::size_t written_bytes_ = 0;  // of it
  std::size_t write_bytes_max_ = SIZE_MAX;
  std::function<void()> taken_;
  bool chunked_ = false;
  bool body_ended_ = false;
  std::weak_ptr<HttpExchange> exchange_;  // the one that is being handled
  std::uint64_t serial_ = 0;              // of the exchange; an answer to an older one is late
  Clock::time_point since_ = Clock::now();
  std::size_t discarded_bytes_ = 0;
  Stage stage_ = Stage::idle;
  bool watching_ = false;  // a read is under way while a handler works
  bool is_head_ = false;
  bool keep_alive_ = false;
  bool refused_ = false;  // the rest of what the client sends is not looked at
};

}  // namespace millrace::server
