#include "server/net/hook_post.hpp"

#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <utility>

#include "server/auth/tls_context.hpp"

namespace millrace::server {

namespace beast = boost::beast;
namespace http = boost::beast::http;

using Error = boost::system::error_code;

HookPost::HookPost(boost::asio::io_context& context, const HttpUrl& url,
                   std::shared_ptr<boost::asio::ssl::context> tls, std::string body, Then then)
    : url_(url),
      then_(std::move(then)),
      resolver_(context),
      stream_(boost::asio::ip::tcp::socket(context), url.uses_tls ? std::move(tls) : nullptr),
      request_(http::verb::post, url.target, 11) {
  request_.set(http::field::host, url.host_field());
  request_.set(http::field::user_agent, "millrace");
  request_.set(http::field::content_type, "application/json");
  request_.set(http::field::accept, "application/json");
  request_.keep_alive(false);
  request_.body() = std::move(body);
  request_.prepare_payload();
  parser_.body_limit(reply_bytes_max);
  parser_.header_limit(header_bytes_max);
}

void HookPost::start() {
  resolver_.async_resolve(
      url_.host, url_.port,
      [self = shared_from_this()](const Error& error,
                                  const boost::asio::ip::tcp::resolver::results_type& found) {
        if (!self->then_) return;
        error ? self->fail(error) : self->on_resolved(found);
      });
}

void HookPost::abandon() {
  then_ = nullptr;
  resolver_.cancel();
  stream_.close();
}

void HookPost::on_resolved(const boost::asio::ip::tcp::resolver::results_type& found) {
  stream_.tcp().async_connect(
      found,
      [self = shared_from_this()](const Error& error, const boost::asio::ip::tcp::endpoint&) {
        if (!self->then_) return;
        error ? self->fail(error) : self->on_connected();
      });
}

void HookPost::on_connected() {
  if (!stream_.uses_tls()) return url_.uses_tls ? end({0, "there is no TLS for it"}) : send();
  if (!expect_server(stream_.ssl(), url_.host)) return end({0, "its name cannot be checked"});
  stream_.async_handshake(boost::asio::ssl::stream_base::client,
                          [self = shared_from_this()](const Error& error) {
                            if (!self->then_) return;
                            error ? self->fail(error) : self->send();
                          });
}

void HookPost::send() {
  http::async_write(stream_, request_,
                    [self = shared_from_this()](const Error& error, std::size_t) {
                      if (!self->then_) return;
                      error ? self->fail(error) : self->read();
                    });
}

void HookPost::read() {
  http::async_read(stream_, buffer_, parser_,
                   [self = shared_from_this()](const Error& error, std::size_t) {
                     if (!self->then_) return;
                     if (error) return self->fail(error);
                     auto& response = self->parser_.get();
                     self->end({response.result_int(), std::move(response.body())});
                   });
}

void HookPost::fail(const Error& error) {
  end({0, error.message()});
}

void HookPost::end(Reply reply) {
  const Then then = std::exchange(then_, nullptr);
  stream_.close();
  then(std::move(reply));
}

}  // namespace millrace::server
