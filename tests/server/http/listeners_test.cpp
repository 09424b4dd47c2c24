// Several addresses of HTTP: what each serves, and TLS on one beside another in clear.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>

#include "server/auth/tls_context.hpp"
#include "server/http/server.hpp"
#include "tests/server/certificates.hpp"
#include "tests/server/files.hpp"

namespace millrace::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
namespace asio = boost::asio;

constexpr std::string_view ask =
    "GET /topics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

template <class Stream>
std::string exchange(Stream& stream, std::string request) {
  boost::system::error_code error;
  asio::write(stream, asio::buffer(request), error);
  std::string answer;
  asio::read(stream, asio::dynamic_buffer(answer), error);  // until it ends
  return answer;
}

struct HttpListeners : testing::Test {
  static HttpConfig config() {
    HttpConfig config;
    config.port = 0;
    config.serves = {"topics", "api"};
    HttpListenerConfig metrics, inside_tls;
    metrics.port = inside_tls.port = 0;
    metrics.serves = {"metrics"};
    config.listeners = {metrics, inside_tls};
    return config;
  }

  void start() {
    const auto answer = [](HttpExchange::Ptr exchange) {
      exchange->answer(200, "text/plain", "here: " + exchange->request().path);
    };
    http.route("GET", "/topics", "", answer);
    http.route("GET", "/api/*", "", answer);
    http.route_for_monitors("/metrics", "", answer);
    http.start();
  }
  asio::ip::tcp::socket connected(std::size_t listener) {
    asio::ip::tcp::socket socket(context);
    socket.connect({asio::ip::make_address("127.0.0.1"), http.port(listener)});
    return socket;
  }
  std::string get(std::size_t listener, const std::string& path) {
    asio::ip::tcp::socket socket = connected(listener);
    return exchange(socket,
                    "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  }
  // With `authority`: clients have to show a certificate that this one signed.
  std::shared_ptr<asio::ssl::context> certified(const std::string& name,
                                                const std::string& authority = "") {
    test::make_certificate(folder, name);
    HttpListenerConfig listener;
    listener.tls.certificate_file = folder.path(name + ".pem");
    listener.tls.key_file = folder.path(name + ".key");
    if (!authority.empty()) {
      listener.tls.client_certificate = ClientCertificate::required;
      listener.tls.client_ca_file = folder.path(authority + ".pem");
    }
    std::vector<TlsFault> faults;
    auto made = make_tls_setup(listener.as_listener(), faults).context;
    EXPECT_TRUE(faults.empty());
    return made;
  }
  // Of a client that trusts the certificate of that name alone.
  std::string get_inside_tls(const std::string& trusted) {
    asio::ssl::context client(asio::ssl::context::tls_client);
    client.set_verify_mode(asio::ssl::verify_peer);
    client.load_verify_file(folder.path(trusted + ".pem"));
    asio::ssl::stream<asio::ip::tcp::socket> stream(connected(2), client);
    boost::system::error_code error;
    stream.handshake(asio::ssl::stream_base::client, error);
    return error ? "no handshake" : exchange(stream, std::string(ask));
  }

  const test::Folder folder;
  asio::io_context context;
  HttpServer http{config()};
};

TEST_F(HttpListeners, ServeTheirPartsAlone) {
  start();
  EXPECT_THAT(get(0, "/topics"), HasSubstr("here: /topics"));
  EXPECT_THAT(get(0, "/api/v1"), HasSubstr("here: /api/v1"));
  EXPECT_THAT(get(0, "/metrics"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(get(1, "/metrics"), HasSubstr("here: /metrics"));
  EXPECT_THAT(get(1, "/topics"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(get(1, "/api/v1"), StartsWith("HTTP/1.1 404"));
}

TEST_F(HttpListeners, LinkOnTheirStartPageWhatTheyServe) {
  const auto answer = [](const HttpExchange::Ptr& exchange) {
    exchange->answer(200, "text/plain", "");
  };
  http.route("GET", "/topics", "values", answer);
  http.route_for_monitors("/metrics", "figures", answer);
  http.start();
  EXPECT_THAT(get(0, "/"), AllOf(HasSubstr("href=\"/topics\""), Not(HasSubstr("/metrics"))));
  EXPECT_THAT(get(1, "/"), StartsWith("HTTP/1.1 404"));  // it is of the part `api`
  EXPECT_THAT(get(2, "/"), AllOf(HasSubstr("href=\"/topics\""), HasSubstr("href=\"/metrics\"")));
}

TEST_F(HttpListeners, SpeakTlsBesideOthersInClear) {
  http.set_tls({nullptr, certified("localhost")});
  start();
  EXPECT_THAT(get_inside_tls("localhost"), HasSubstr("here: /topics"));
  EXPECT_EQ(get(2, "/topics").find("here"), std::string::npos);  // in clear: no answer
  EXPECT_THAT(get(0, "/topics"), HasSubstr("here: /topics"));
  EXPECT_THAT(get_inside_tls("localhost"), HasSubstr("here: /topics"));
}

TEST_F(HttpListeners, TakeANewCertificateForNewConnections) {
  http.set_tls({nullptr, certified("one")});
  start();
  EXPECT_THAT(get_inside_tls("one"), HasSubstr("here: /topics"));
  http.set_tls({nullptr, certified("two")});
  EXPECT_THAT(get_inside_tls("two"), HasSubstr("here: /topics"));
  EXPECT_EQ(get_inside_tls("one"), "no handshake");
}

// The client's certificate is its own authority.
TEST_F(HttpListeners, EndAConnectionWhoseCertificateNewAuthoritiesWouldNotAccept) {
  test::make_certificate(folder, "ann");
  test::make_certificate(folder, "bob");
  http.set_tls({nullptr, certified("localhost", "ann")});
  start();
  asio::ssl::context client(asio::ssl::context::tls_client);
  client.use_certificate_file(folder.path("ann.pem"), asio::ssl::context::pem);
  client.use_private_key_file(folder.path("ann.key"), asio::ssl::context::pem);
  asio::ssl::stream<asio::ip::tcp::socket> stream(connected(2), client);
  stream.handshake(asio::ssl::stream_base::client);
  for (int i = 0; i < 2; ++i) {
    asio::write(stream,
                asio::buffer(std::string("GET /topics HTTP/1.1\r\nHost: localhost\r\n\r\n")));
    std::string answer;
    asio::read_until(stream, asio::dynamic_buffer(answer), "here: /topics");
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 200"));
    http.set_tls({nullptr, certified("localhost", "ann")});  // new files, and it still holds
  }
  EXPECT_EQ(http.counters().connections_revoked.value(), 0u);
  http.set_tls({nullptr, certified("localhost", "bob")});
  std::string rest;
  boost::system::error_code error;
  asio::read(stream, asio::dynamic_buffer(rest), error);  // until the server ends it
  EXPECT_EQ(rest, "");
  EXPECT_EQ(http.counters().connections_revoked.value(), 1u);
}

// A request, then another one on the same connection, and a handler that answers while the server
// reads on: each cancels a read that TLS has begun.
TEST_F(HttpListeners, GoOnWithAConnectionInsideTls) {
  http.set_tls({nullptr, certified("localhost")});
  start();
  asio::ssl::context client(asio::ssl::context::tls_client);
  asio::ssl::stream<asio::ip::tcp::socket> stream(connected(2), client);
  stream.handshake(asio::ssl::stream_base::client);
  for (int i = 0; i < 3; ++i) {
    asio::write(stream,
                asio::buffer(std::string("GET /topics HTTP/1.1\r\nHost: localhost\r\n\r\n")));
    std::string answer;
    asio::read_until(stream, asio::dynamic_buffer(answer), "here: /topics");
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 200"));
  }
  EXPECT_THAT(exchange(stream, std::string(ask)), HasSubstr("here: /topics"));
}

TEST_F(HttpListeners, EndWhoNeverFinishesTheHandshake) {
  HttpConfig hasty = config();
  hasty.header_seconds = 1;
  HttpServer other(hasty);
  other.set_tls({nullptr, certified("localhost")});
  other.start();
  asio::ip::tcp::socket socket(context);
  socket.connect({asio::ip::make_address("127.0.0.1"), other.port(2)});
  EXPECT_EQ(exchange(socket, "\x16\x03\x01"), "");  // until the server ends it
}

}  // namespace
}  // namespace millrace::server
