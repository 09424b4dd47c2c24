// HookPost: one POST of JSON to an HTTP hook, and its answer. Whoever starts it sets the time: it ends
// by abandon() if the answer does not come.
//
//     auto post = std::make_shared<HookPost>(context, url, tls, body, [](auto reply) { ... });
//     post->start();
//
// Threads: that of `context`.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <functional>
#include <memory>
#include <string>

#include "server/config/http_url.hpp"
#include "server/net/http_stream.hpp"

namespace millrace::server {

class HookPost : public std::enable_shared_from_this<HookPost> {
 public:
  struct Reply {
    unsigned status = 0;  // 0: there was no answer, and `body` says why
    std::string body;
  };
  using Then = std::function<void(Reply)>;
  static constexpr std::size_t reply_bytes_max = 64 * 1024;
  static constexpr std::uint32_t header_bytes_max = 16 * 1024;

  // `tls`: for https.
  HookPost(boost::asio::io_context& context, const HttpUrl& url,
           std::shared_ptr<boost::asio::ssl::context> tls, std::string body, Then then);

  void start();
  // `then` is not called any more.
  void abandon();

 private:
  void on_resolved(const boost::asio::ip::tcp::resolver::results_type& found);
  void on_connected();
  void send();
  void read();
  void fail(const boost::system::error_code& error);
  void end(Reply reply);

  const HttpUrl url_;
  Then then_;  // null: abandoned, or over
  boost::asio::ip::tcp::resolver resolver_;
  HttpStream stream_;
  boost::beast::flat_buffer buffer_;
  boost::beast::http::request<boost::beast::http::string_body> request_;
  boost::beast::http::response_parser<boost::beast::http::string_body> parser_;
};

}  // namespace millrace::server
