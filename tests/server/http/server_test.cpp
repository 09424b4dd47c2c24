// The HTTP server over real sockets, spoken to by hand: what is sent here is what arrives.
#include "server/http/server.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <future>
#include <memory>
#include <vector>

namespace millrace::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
namespace asio = boost::asio;

class Client {
 public:
  // `from`: an address of this machine, which the server sees.
  explicit Client(std::uint16_t port, const char* from = "127.0.0.1") {
    socket_.open(asio::ip::tcp::v4());
    socket_.bind({asio::ip::make_address(from), 0});
    socket_.connect({asio::ip::make_address("127.0.0.1"), port});
  }

  void send(const std::string& text) {
    boost::system::error_code ignored;  // the server may have closed already
    asio::write(socket_, asio::buffer(text), ignored);
  }
  // All until the server closes.
  std::string rest() {
    boost::system::error_code error;
    std::string text;
    asio::read(socket_, asio::dynamic_buffer(text), error);
    return text;
  }
  // One response with a Content-Length.
  std::string response() {
    std::string text;
    while (text.find("\r\n\r\n") == std::string::npos) read_some(text);
    const auto at = text.find("Content-Length: ");
    const std::size_t length = std::stoul(text.substr(at + 16));
    const std::size_t whole = text.find("\r\n\r\n") + 4 + length;
    while (text.size() < whole) read_some(text);
    return text;
  }
  void close() { socket_.close(); }

 private:
  void read_some(std::string& text) {
    char byte;
    asio::read(socket_, asio::buffer(&byte, 1));
    text += byte;
  }
  asio::io_context context_;
  asio::ip::tcp::socket socket_{context_};
};

HttpConfig on_any_port() {
  HttpConfig config;
  config.port = 0;
  return config;
}

class Http : public ::testing::Test {
 protected:
  explicit Http(HttpConfig config = on_any_port()) : http_(config) {}

  void start() {
    http_.route("GET", "/hello", "says hello", [](HttpExchange::Ptr exchange) {
      exchange->answer(200, "text/plain",
                       "hello " + std::string(exchange->request().query_value("n")));
    });
    http_.route("POST", "/echo", "", [](HttpExchange::Ptr exchange) {
      exchange->answer(200, "text/plain", exchange->request().body);
    });
    http_.route("GET", "/tree/*", "", [](HttpExchange::Ptr exchange) {
      exchange->answer(200, "text/plain", "rest=" + exchange->request().rest);
    });
    http_.start();
  }
  std::string get(const std::string& target, const std::string& method = "GET") {
    Client client(http_.port());
    client.send(method + " " + target +
                " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    return client.rest();
  }
  const Metrics metrics_;
  HttpServer http_;
};

TEST_F(Http, AnswersARoute) {
  start();
  const std::string answer = get("/hello?n=w%C3%B6rld");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\n\r\nhello w\xc3\xb6rld"));
}

TEST_F(Http, AnswersHeadWithoutABody) {
  start();
  const std::string answer = get("/hello?n=x", "HEAD");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("Content-Length: 7\r\n"));
  EXPECT_TRUE(answer.ends_with("\r\n\r\n"));
}

TEST_F(Http, AnAnswerWithoutContentSaysNothingOfIt) {
  http_.route("GET", "/nothing", "",
              [](HttpExchange::Ptr exchange) { exchange->answer(204, "text/plain", ""); });
  start();
  Client client(http_.port());
  client.send(
      "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"
      "GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  const std::string answers = client.rest();
  const auto end = answers.find("\r\n\r\n");
  ASSERT_NE(end, std::string::npos);
  const std::string head = answers.substr(0, end + 2);
  EXPECT_THAT(head, StartsWith("HTTP/1.1 204 No Content\r\n"));
  EXPECT_THAT(head, Not(HasSubstr("\r\nContent-Length")));  // RFC 9110, section 8.6
  EXPECT_THAT(head, Not(HasSubstr("\r\nContent-Type")));
  EXPECT_THAT(answers.substr(end + 4), StartsWith("HTTP/1.1 200 OK\r\n"));
}

TEST_F(Http, KnowsWhatIsNotThere) {
  start();
  EXPECT_THAT(get("/nowhere"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(get("/hello/more"), StartsWith("HTTP/1.1 404"));
  const std::string wrong = get("/hello", "DELETE");
  EXPECT_THAT(wrong, StartsWith("HTTP/1.1 405"));
  EXPECT_THAT(wrong, HasSubstr("Allow: GET, HEAD\r\n"));
}

TEST_F(Http, HandsTheRestOfAPathOn) {
  start();
  EXPECT_THAT(get("/tree/a%20b/c"), HasSubstr("rest=a b/c"));
  EXPECT_THAT(get("/tree"), StartsWith("HTTP/1.1 404"));
}

TEST_F(Http, KeepsTheConnectionAndTakesPipelinedRequests) {
  start();
  Client client(http_.port());
  const std::string request = "GET /hello?n=1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
  client.send(request + request);
  EXPECT_THAT(client.response(), HasSubstr("hello 1"));
  EXPECT_THAT(client.response(), HasSubstr("hello 1"));
  client.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc");
  EXPECT_THAT(client.response(), HasSubstr("\r\n\r\nabc"));
  EXPECT_EQ(http_.counters().connections_accepted.value(), 1u);
}

TEST_F(Http, RefusesWhatItDoesNotUnderstand) {
  start();
  Client client(http_.port());
  client.send("this is not http\r\n\r\n");
  EXPECT_THAT(client.rest(), StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(get("/%zz"), StartsWith("HTTP/1.1 400"));
}

TEST_F(Http, RefusesWhatIsTooLarge) {
  start();
  Client header(http_.port());
  header.send("GET / HTTP/1.1\r\nX: " + std::string(20'000, 'x'));
  EXPECT_THAT(header.rest(), StartsWith("HTTP/1.1 431"));
  Client body(http_.port());
  body.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999\r\n\r\n");
  EXPECT_THAT(body.rest(), StartsWith("HTTP/1.1 413"));
}

TEST_F(Http, TakesAHeaderOf12KB) {
  start();
  Client client(http_.port());
  client.send("GET /hello HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(12'000, 'x') +
              "\r\n\r\n");
  EXPECT_THAT(client.response(), StartsWith("HTTP/1.1 200"));
}

TEST_F(Http, AHandlerMayAnswerLaterFromAnotherThread) {
  std::promise<HttpExchange::Ptr> arrived;
  http_.route("GET", "/later", "",
              [&](HttpExchange::Ptr exchange) { arrived.set_value(exchange); });
  start();
  Client client(http_.port());
  client.send("GET /later HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  HttpExchange::Ptr exchange = arrived.get_future().get();
  EXPECT_THAT(get("/hello?n=2"), HasSubstr("hello 2"));  // nobody else waits for it
  exchange->answer(200, "text/plain", "at last");
  exchange->answer(200, "text/plain", "twice");
  const std::string answer = client.rest();
  EXPECT_THAT(answer, HasSubstr("at last"));
  EXPECT_THAT(answer, Not(HasSubstr("twice")));
}

TEST_F(Http, AnExchangeThatIsDroppedIsAnswered500) {
  http_.route("GET", "/drop", "", [](HttpExchange::Ptr) {});
  start();
  EXPECT_THAT(get("/drop"), StartsWith("HTTP/1.1 500"));
}

TEST_F(Http, TellsAHandlerThatTheClientWent) {
  std::promise<void> arrived, gone;
  HttpExchange::Ptr kept;
  http_.route("GET", "/poll", "", [&](HttpExchange::Ptr exchange) {
    kept = exchange;
    exchange->on_gone([&] { gone.set_value(); });
    arrived.set_value();
  });
  start();
  Client client(http_.port());
  client.send("GET /poll HTTP/1.1\r\nHost: localhost\r\n\r\n");
  arrived.get_future().wait();
  client.close();
  gone.get_future().wait();
  kept->answer(200, "text/plain", "too late");
}

TEST_F(Http, StoppingTellsHandlersThatStillWait) {
  std::promise<void> arrived;
  bool gone = false;
  HttpExchange::Ptr kept;
  http_.route("GET", "/poll", "", [&](HttpExchange::Ptr exchange) {
    kept = exchange;
    exchange->on_gone([&] { gone = true; });
    arrived.set_value();
  });
  start();
  Client client(http_.port());
  client.send("GET /poll HTTP/1.1\r\nHost: localhost\r\n\r\n");
  arrived.get_future().wait();
  http_.stop();
  EXPECT_TRUE(gone);
  kept.reset();
}

TEST_F(Http, StandardRoutesAnswer) {
  Metrics metrics;
  metrics.add(http_metric_rows(http_.counters()));
  std::atomic<bool> ready{false};
  add_standard_routes(http_, metrics, [&] { return ready ? "" : "still starting"; });
  start();
  EXPECT_THAT(get("/healthz"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(get("/readyz"), StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(get("/readyz"), HasSubstr("not ready: still starting"));
  ready = true;
  EXPECT_THAT(get("/readyz"), StartsWith("HTTP/1.1 200"));
  const std::string scraped = get("/metrics");
  EXPECT_THAT(scraped, HasSubstr("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
  EXPECT_THAT(scraped, HasSubstr("millrace_http_responses_total{class=\"5xx\"} 2"));
  const std::string page = get("/");
  EXPECT_THAT(page, HasSubstr("<a href=\"/metrics\">"));
  EXPECT_THAT(page, HasSubstr("says hello"));
}

TEST(HttpStart, SaysWhichPortIsTaken) {
  HttpServer first(on_any_port());
  first.start();
  HttpConfig config = on_any_port();
  config.port = first.port();
  HttpServer second(config);
  try {
    second.start();
    FAIL() << "two servers on one port";
  } catch (const std::exception& error) {
    EXPECT_THAT(error.what(), HasSubstr("port " + std::to_string(config.port)));
    EXPECT_THAT(error.what(), HasSubstr("in use"));
  }
}

HttpConfig with_two_connections() {
  HttpConfig config = on_any_port();
  config.connections_max = 2;
  return config;
}
class CrowdedHttp : public Http {
 protected:
  CrowdedHttp() : Http(with_two_connections()) {}
};

const std::string hello = "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n";

TEST_F(CrowdedHttp, ClosesTheConnectionThatIsSilentForLongestToMakeRoom) {
  start();
  Client first(http_.port()), second(http_.port());
  first.send(hello);
  first.response();
  second.send("GET /hello HTTP/1.1\r\nHost: loc");  // and no more
  first.send(hello);
  first.response();
  Client third(http_.port());
  third.send(hello);
  EXPECT_THAT(third.response(), HasSubstr("hello"));
  EXPECT_EQ(http_.counters().connections_evicted.value(), 1u);
  EXPECT_EQ(http_.counters().connections_refused.value(), 0u);
}

TEST_F(CrowdedHttp, ServesMonitorsHoweverManyAreSilent) {
  add_standard_routes(http_, metrics_, [] { return ""; });
  start();
  std::vector<std::unique_ptr<Client>> silent;
  for (int i = 0; i < 300; ++i) silent.push_back(std::make_unique<Client>(http_.port()));
  EXPECT_THAT(get("/healthz"), StartsWith("HTTP/1.1 200"));
}

TEST_F(CrowdedHttp, KeepsPlacesForMonitorsWhileAllOthersAreBusy) {
  std::vector<HttpExchange::Ptr> kept;
  std::promise<void> both_arrived;
  http_.route("GET", "/poll", "", [&](HttpExchange::Ptr exchange) {
    kept.push_back(exchange);
    if (kept.size() == 2) both_arrived.set_value();
  });
  add_standard_routes(http_, metrics_, [] { return ""; });
  start();
  Client first(http_.port()), second(http_.port());
  first.send("GET /poll HTTP/1.1\r\nHost: localhost\r\n\r\n");
  second.send("GET /poll HTTP/1.1\r\nHost: localhost\r\n\r\n");
  both_arrived.get_future().wait();
  EXPECT_THAT(get("/healthz"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(get("/metrics"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(get("/hello"), StartsWith("HTTP/1.1 503"));
  http_.stop();
  kept.clear();
}

TEST_F(CrowdedHttp, KeepsPlacesForMonitorsAlthoughStrangersDoNotReadTheirAnswers) {
  http_.route_for_monitors("/large", "", [](HttpExchange::Ptr exchange) {
    exchange->answer(200, "text/plain", std::string(20'000'000, 'x'));
  });
  add_standard_routes(http_, metrics_, [] { return ""; });
  start();
  std::vector<std::unique_ptr<Client>> stalled;
  for (int i = 0; i < 30; ++i) {
    stalled.push_back(std::make_unique<Client>(http_.port()));
    stalled.back()->send("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
  }
  EXPECT_THAT(get("/healthz"), StartsWith("HTTP/1.1 200"));
}

HttpConfig with_two_connections_per_address() {
  HttpConfig config = on_any_port();
  config.connections_per_address_max = 2;
  return config;
}
class FairHttp : public Http {
 protected:
  FairHttp() : Http(with_two_connections_per_address()) {}
};

TEST_F(FairHttp, LeavesPlacesToOthersWhileOneAddressIsBusyWithAllOfItsOwn) {
  std::vector<HttpExchange::Ptr> kept;
  std::promise<void> both_arrived;
  http_.route("GET", "/poll", "", [&](HttpExchange::Ptr exchange) {
    kept.push_back(exchange);
    if (kept.size() == 2) both_arrived.set_value();
  });
  http_.route("GET", "/api/v1/x", "",
              [](HttpExchange::Ptr exchange) { exchange->answer(200, "application/json", "{}"); });
  add_standard_routes(http_, metrics_, [] { return ""; });
  start();
  Client first(http_.port()), second(http_.port());
  for (Client* client : {&first, &second}) {
    client->send("GET /poll HTTP/1.1\r\nHost: localhost\r\n\r\n");
  }
  both_arrived.get_future().wait();
  EXPECT_THAT(get("/hello"), AllOf(StartsWith("HTTP/1.1 429"), HasSubstr("per_address_max")));
  EXPECT_THAT(get("/api/v1/x"), AllOf(StartsWith("HTTP/1.1 429"),
                                      HasSubstr("Content-Type: application/problem+json\r\n")));
  EXPECT_THAT(get("/healthz"), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(http_.counters().too_many_of_address.value(), 3u);
  Client other(http_.port(), "127.0.0.2");
  other.send(hello);
  EXPECT_THAT(other.response(), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(http_.counters().too_many_of_address.value(), 3u);
  EXPECT_EQ(http_.counters().too_many.value(), 0u);
  http_.stop();
  kept.clear();
}

TEST_F(FairHttp, ClosesASilentConnectionOfTheSameAddressAndNoOtherToMakeRoom) {
  start();
  Client other(http_.port(), "127.0.0.2"), first(http_.port()), second(http_.port());
  for (Client* client : {&other, &first, &second}) {
    client->send(hello);
    client->response();
  }
  Client third(http_.port());
  third.send(hello);
  EXPECT_THAT(third.response(), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(first.rest(), "");  // it was silent for longest
  for (Client* client : {&other, &second, &third}) {
    client->send(hello);
    EXPECT_THAT(client->response(), StartsWith("HTTP/1.1 200"));
  }
  EXPECT_EQ(http_.counters().connections_evicted.value(), 1u);
  EXPECT_EQ(http_.counters().too_many_of_address.value(), 0u);
}

HttpConfig with_a_second_for_each_stage() {
  HttpConfig config = on_any_port();
  config.idle_seconds = config.header_seconds = config.timeout_seconds = 1;
  return config;
}
class HastyHttp : public Http {
 protected:
  HastyHttp() : Http(with_a_second_for_each_stage()) {}
};

TEST_F(HastyHttp, ClosesWhoeverStopsInAnyStage) {
  http_.route("GET", "/large", "", [](HttpExchange::Ptr exchange) {
    exchange->answer(200, "text/plain", std::string(20'000'000, 'x'));
  });
  start();
  std::vector<std::unique_ptr<Client>> slow;
  const std::string post = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\na";
  for (const std::string& sent : {std::string(), std::string("GET /he"), post}) {
    slow.push_back(std::make_unique<Client>(http_.port()));
    slow.back()->send(sent);
  }
  for (bool answered = false; !answered;) {
    slow.push_back(std::make_unique<Client>(http_.port()));
    slow.back()->send(hello);
    try {
      slow.back()->response();  // and asks for nothing more
      answered = true;
    } catch (const boost::system::system_error&) {
      // Its second had passed before its request came.
    }
  }
  Client never_reads(http_.port());
  never_reads.send("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
  for (const auto& client : slow) EXPECT_EQ(client->rest(), "");
  while (http_.counters().connections_closed.value() < slow.size() + 1) std::this_thread::yield();
}

TEST_F(Http, AnswersForItsOwnHostsAlone) {
  start();
  const auto ask = [&](const std::string& host, const std::string& target = "/hello") {
    Client client(http_.port());
    client.send("GET " + target + " HTTP/1.1\r\n" + host + "Connection: close\r\n\r\n");
    return client.rest().substr(0, 12);
  };
  for (const char* host : {"Host: localhost\r\n", "Host: LOCALHOST:9464\r\n",
                           "Host: 127.0.0.1:1\r\n", "Host: [::1]\r\n"}) {
    EXPECT_EQ(ask(host), "HTTP/1.1 200") << host;
  }
  EXPECT_EQ(ask("Host: evil.example\r\n"), "HTTP/1.1 421");
  EXPECT_EQ(ask("Host: localhost\r\n", "http://evil.example/hello"), "HTTP/1.1 421");
  EXPECT_EQ(ask("Host: evil.example\r\n", "http://localhost/hello"), "HTTP/1.1 200");
  for (const char* host : {"", "Host: a\r\nHost: b\r\n"}) {
    EXPECT_EQ(ask(host), "HTTP/1.1 400") << host;
  }
}

TEST_F(Http, RefusesAnotherHostAsAProblemWhereverTheTargetNamesTheApi) {
  start();
  const auto ask = [&](const std::string& target, const std::string& host) {
    Client client(http_.port());
    client.send("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n");
    return client.rest();
  };
  const auto is_problem =
      AllOf(StartsWith("HTTP/1.1 421"), HasSubstr("Content-Type: application/problem+json\r\n"),
            HasSubstr("\"status\":421"), HasSubstr("http.hosts"));
  EXPECT_THAT(ask("/api/v1/server", "evil.example"), is_problem);
  EXPECT_THAT(ask("http://evil.example/api/v1/server", "localhost"), is_problem);
  EXPECT_THAT(ask("HTTP://evil.example:80/api/v1/server?a=b", "localhost"), is_problem);
  EXPECT_THAT(ask("http://evil.example/topics", "localhost"),
              AllOf(StartsWith("HTTP/1.1 421"), HasSubstr("Content-Type: text/plain")));
}

HttpConfig with_names() {
  HttpConfig config = on_any_port();
  config.hosts = {"Millrace.example"};
  return config;
}
class NamedHttp : public Http {
 protected:
  NamedHttp() : Http(with_names()) {}
};

TEST_F(NamedHttp, AnswersForTheNamesThatItWasGiven) {
  start();
  Client client(http_.port());
  client.send("GET /hello HTTP/1.1\r\nHost: millrace.EXAMPLE:80\r\n\r\n");
  EXPECT_THAT(client.response(), StartsWith("HTTP/1.1 200"));
}

TEST_F(Http, NoticesThatAClientWentWhateverItSentAhead) {
  std::promise<void> arrived, gone;
  HttpExchange::Ptr kept;
  http_.route("GET", "/poll", "", [&](HttpExchange::Ptr exchange) {
    kept = exchange;
    exchange->on_gone([&] { gone.set_value(); });
    arrived.set_value();
  });
  start();
  Client client(http_.port());
  client.send("GET /poll HTTP/1.1\r\nHost: localhost\r\n\r\nG");
  arrived.get_future().wait();
  client.send("E");
  client.close();
  gone.get_future().wait();
  kept.reset();
}

TEST_F(Http, ClosesAClientThatSendsMuchAheadOfItsAnswer) {
  std::promise<void> gone;
  HttpExchange::Ptr kept;
  http_.route("GET", "/poll", "", [&](HttpExchange::Ptr exchange) {
    kept = exchange;
    exchange->on_gone([&] { gone.set_value(); });
  });
  start();
  Client client(http_.port());
  client.send("GET /poll HTTP/1.1\r\nHost: localhost\r\n\r\n" + std::string(100'000, 'x'));
  gone.get_future().wait();
  kept.reset();
}

TEST_F(Http, AnswersARequestThatIsMuchTooLarge) {
  start();
  Client client(http_.port());
  client.send("GET /hello HTTP/1.1\r\nX: " + std::string(500'000, 'x'));
  EXPECT_THAT(client.rest(), StartsWith("HTTP/1.1 431"));
}

}  // namespace
}  // namespace millrace::server
