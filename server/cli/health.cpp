// `millrace check --health`: what the container's HEALTHCHECK runs, without a tool of its own.
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <chrono>
#include <iostream>
#include <memory>
#include <string>
#include <utility>

#include "server/auth/tls_context.hpp"
#include "server/cli/cli.hpp"
#include "server/cli/tls_options.hpp"
#include "server/config/http_url.hpp"
#include "server/net/http_stream.hpp"

namespace millrace::server {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

HttpUrl parse_url(const std::string& text) {
  std::string fault;
  const auto url = parse_http_url(text, fault);
  if (url) return *url;
  throw UsageError(
      "--health: the URL must look like \"http://127.0.0.1:9464/readyz\" or "
      "\"https://...\", not \"" +
      text + "\"");
}

// One GET, each step started by the one before; the stream's timer bounds them all.
class Probe {
 public:
  Probe(const HttpUrl& url, std::shared_ptr<asio::ssl::context> tls, unsigned timeout_seconds)
      : url_(url), stream_(asio::ip::tcp::socket(context_), std::move(tls)) {
    stream_.expires_after(std::chrono::seconds(timeout_seconds));
    request_.set(http::field::host, url.host_field());
    request_.keep_alive(false);
  }

  // 0: no answer, see fault().
  unsigned status() {
    beast::error_code error;
    const auto addresses = asio::ip::tcp::resolver(context_).resolve(url_.host, url_.port, error);
    if (failed(error)) return 0;
    stream_.tcp().async_connect(addresses, [this](beast::error_code failure, const auto&) {
      if (failed(failure)) return;
      stream_.uses_tls() ? do_handshake() : do_write();
    });
    context_.run();
    return fault_.empty() ? response_.result_int() : 0;
  }
  const std::string& fault() const { return fault_; }
  const std::string& body() const { return response_.body(); }

 private:
  bool failed(beast::error_code error) {
    if (error) fault_ = error.message();
    return static_cast<bool>(error);
  }
  bool failed_in_stream(beast::error_code error) {
    if (!stream_.uses_tls() || error == beast::error::timeout) return failed(error);
    if (error) fault_ = tls_failure(stream_.ssl(), url_, error);
    return static_cast<bool>(error);
  }
  void do_handshake() {
    if (!expect_server(stream_.ssl(), url_.host)) {
      fault_ = "no certificate can be held to that name";
      return;
    }
    stream_.async_handshake(HttpStream::Side::client, [this](beast::error_code failure) {
      if (!failed_in_stream(failure)) do_write();
    });
  }
  void do_write() {
    http::async_write(stream_, request_, [this](beast::error_code failure, std::size_t) {
      if (!failed_in_stream(failure)) do_read();
    });
  }
  void do_read() {
    http::async_read(stream_, buffer_, response_,
                     [this](beast::error_code failure, std::size_t) { failed_in_stream(failure); });
  }

  const HttpUrl url_;
  asio::io_context context_;
  HttpStream stream_;
  beast::flat_buffer buffer_{64 * 1024};
  http::request<http::empty_body> request_{http::verb::get, url_.target, 11};
  http::response<http::string_body> response_;
  std::string fault_;
};

}  // namespace

std::string health_url(const Config& config) {
  std::string host = config.http.host;
  if (host == "0.0.0.0") host = "127.0.0.1";
  if (host == "::") host = "::1";
  if (host.find(':') != std::string::npos) host = "[" + host + "]";
  return "http://" + host + ":" + std::to_string(config.http.port) + "/readyz";
}

int check_health(const std::string& url, unsigned timeout_seconds,
                 const boost::program_options::variables_map& values) {
  const HttpUrl parsed = parse_url(url);
  Probe probe(parsed, client_tls(parsed, values), timeout_seconds);
  const unsigned status = probe.status();
  if (status == 200) return 0;
  std::cout << url << ": ";
  if (status == 0) {
    std::cout << probe.fault() << "\n";
  } else {
    std::cout << status << " " << probe.body() << (probe.body().ends_with('\n') ? "" : "\n");
  }
  return 1;
}

}  // namespace millrace::server
