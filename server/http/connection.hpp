// One HTTP connection: reads a request, hands it over, writes the answer, and so on. Internal to
// server/http*.cpp; everything runs on the HTTP thread.
//
// While a handler takes its time the connection watches the socket, so that a client that goes away
// is noticed at once (HttpExchange::on_gone). A client that sends its next request meanwhile
// (pipelining) is taken to be alive, and read on once the answer went out.
#pragma once

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <memory>
#include <optional>

#include "server/http/server.hpp"

namespace millrace::server {

class HttpServer::Connection : public std::enable_shared_from_this<HttpServer::Connection> {
 public:
  Connection(HttpServer& server, boost::asio::ip::tcp::socket socket);
  ~Connection();

  void start() { do_read(); }
  void close();

 private:
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;
  using Response = boost::beast::http::response<boost::beast::http::string_body>;

  void do_read();
  void on_read(boost::beast::error_code error);
  void refuse(unsigned status, const char* why);
  void hand_over();
  void do_watch();
  void on_readable();
  void keep_waiting();
  void answer(std::uint64_t serial, HttpResponse response);
  void do_write(HttpResponse response);
  void on_write(boost::beast::error_code error);
  bool make_request(HttpRequest& request) const;

  HttpServer& server_;
  boost::beast::tcp_stream stream_;
  boost::beast::flat_buffer buffer_;
  std::optional<Parser> parser_;  // a new one for each request
  std::optional<Response> response_;
  std::weak_ptr<HttpExchange> exchange_;  // the one that is being handled
  std::shared_ptr<Connection> self_;      // set while nothing else keeps it alive
  std::uint64_t serial_ = 0;              // of the exchange; an answer to an older one is late
  bool waiting_ = false;                  // for a handler's answer
  bool watching_ = false;                 // a read is under way meanwhile
  bool is_head_ = false;
  bool keep_alive_ = false;
};

}  // namespace millrace::server
