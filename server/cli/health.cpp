// `millrace check --health`: what the container's HEALTHCHECK runs, without a tool of its own.
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <iostream>

#include "server/cli/cli.hpp"

namespace millrace::server {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

struct Url {
  std::string host, port = "80", path = "/";
};

Url parse_url(const std::string& text) {
  constexpr std::string_view scheme = "http://";
  if (!text.starts_with(scheme)) throw UsageError("--health: the URL must begin with http://");
  Url url;
  std::string authority = text.substr(scheme.size());
  const auto slash = authority.find('/');
  if (slash != std::string::npos) {
    url.path = authority.substr(slash);
    authority.resize(slash);
  }
  const auto colon = authority.rfind(':');
  const auto bracket = authority.rfind(']');
  if (colon != std::string::npos && (bracket == std::string::npos || colon > bracket)) {
    url.port = authority.substr(colon + 1);
    authority.resize(colon);
  }
  const bool bracketed = authority.starts_with('[') && authority.ends_with(']');
  url.host = bracketed ? authority.substr(1, authority.size() - 2) : authority;
  if (url.host.empty()) throw UsageError("--health: the URL names no host");
  return url;
}

// One GET, each step started by the one before; the stream's timer bounds them all.
class Probe {
 public:
  Probe(const Url& url, unsigned timeout_seconds) : url_(url) {
    stream_.expires_after(std::chrono::seconds(timeout_seconds));
    const bool bracketed = url.host.find(':') != std::string::npos;
    request_.set(http::field::host, (bracketed ? "[" + url.host + "]" : url.host) + ":" + url.port);
    request_.keep_alive(false);
  }

  // 0: no answer, see error().
  unsigned status() {
    beast::error_code error;
    const auto addresses = asio::ip::tcp::resolver(context_).resolve(url_.host, url_.port, error);
    if (error) {
      error_ = error;
      return 0;
    }
    stream_.async_connect(addresses, [this](beast::error_code failure, const auto&) {
      if (!failed(failure)) do_write();
    });
    context_.run();
    return error_ ? 0 : response_.result_int();
  }
  const beast::error_code& error() const { return error_; }
  const std::string& body() const { return response_.body(); }

 private:
  bool failed(beast::error_code error) {
    error_ = error;
    return static_cast<bool>(error);
  }
  void do_write() {
    http::async_write(stream_, request_, [this](beast::error_code failure, std::size_t) {
      if (!failed(failure)) do_read();
    });
  }
  void do_read() {
    http::async_read(stream_, buffer_, response_,
                     [this](beast::error_code failure, std::size_t) { failed(failure); });
  }

  const Url url_;
  asio::io_context context_;
  beast::tcp_stream stream_{context_};
  beast::flat_buffer buffer_{64 * 1024};
  http::request<http::empty_body> request_{http::verb::get, url_.path, 11};
  http::response<http::string_body> response_;
  beast::error_code error_;
};

}  // namespace

std::string health_url(const Config& config) {
  std::string host = config.http.host;
  if (host == "0.0.0.0") host = "127.0.0.1";
  if (host == "::") host = "::1";
  if (host.find(':') != std::string::npos) host = "[" + host + "]";
  return "http://" + host + ":" + std::to_string(config.http.port) + "/readyz";
}

int check_health(const std::string& url, unsigned timeout_seconds) {
  Probe probe(parse_url(url), timeout_seconds);
  const unsigned status = probe.status();
  if (status == 200) return 0;
  std::cout << url << ": ";
  if (status == 0) {
    std::cout << probe.error().message() << "\n";
  } else {
    std::cout << status << " " << probe.body() << (probe.body().ends_with('\n') ? "" : "\n");
  }
  return 1;
}

}  // namespace millrace::server
