#include "server/cli/api_client.hpp"

#include <algorithm>
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <limits>
#include <stdexcept>
#include <system_error>
#include <vector>

#include "server/auth/crypto.hpp"
#include "server/auth/login_delays.hpp"
#include "server/auth/tls_context.hpp"
#include "server/cli/ask_secret.hpp"
#include "server/cli/tls_options.hpp"

namespace millrace::server {

namespace {

namespace po = boost::program_options;
namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

// Of the file that the option names, without its end.
std::string first_line(const po::variables_map& values, const char* option) {
  const auto path = values[option].as<std::string>();
  std::ifstream file(path);
  if (!file) {
    throw std::runtime_error(std::string("--") + option + ": " + path + ": " +
                             std::generic_category().message(errno));
  }
  std::string line;
  if (!std::getline(file, line)) {
    throw std::runtime_error(std::string("--") + option + ": no first line: " + path);
  }
  if (line.ends_with('\r')) line.pop_back();
  return line;
}

std::string token_of(const po::variables_map& values) {
  std::string token = first_line(values, "token-file");
  const auto is_plain = [](unsigned char c) { return c > 0x20 && c < 0x7f; };
  if (token.empty() || !std::all_of(token.begin(), token.end(), is_plain)) {
    throw std::runtime_error("--token-file: the first line is no token: " +
                             values["token-file"].as<std::string>());
  }
  return token;
}

// The field Authorization; empty: nobody in particular asks.
std::string authorization_of(const po::variables_map& values) {
  if (values.count("password-file") > 0 && values.count("user") == 0) {
    throw UsageError("--password-file needs --user");
  }
  if (values.count("token-file") > 0) {
    if (values.count("user") > 0) throw UsageError("--token-file or --user, not both");
    return "Bearer " + token_of(values);
  }
  if (values.count("user") == 0) return "";
  const std::string password = values.count("password-file") > 0
                                   ? first_line(values, "password-file")
                                   : ask_secret("Password: ");
  return "Basic " + to_base64(values["user"].as<std::string>() + ":" + password);
}

HttpUrl url_of(const po::variables_map& values) {
  if (values.count("url") == 0) {
    return {false, values["host"].as<std::string>(), values["port"].as<std::string>(), "/"};
  }
  if (!values["host"].defaulted() || !values["port"].defaulted()) {
    throw UsageError("--url or --host and --port, not both");
  }
  const auto text = values["url"].as<std::string>();
  std::string fault;
  const auto url = parse_http_url(text, fault);
  if (!url || url->target != "/") {
    throw UsageError("--url must look like \"https://millrace.example.com:9443\", not \"" + text +
                     "\"");
  }
  return *url;
}

// What a refusal says, in one line.
std::string detail_of(const http::response<http::string_body>& response) {
  if (response[http::field::content_type] == "application/problem+json") {
    const auto problem = nlohmann::json::parse(response.body(), nullptr, false);
    if (problem.is_object()) return problem.value("detail", "");
  }
  return response.body().substr(0, response.body().find('\n'));
}

}  // namespace

std::optional<po::variables_map> parse_api_command(const Arguments& arguments,
                                                   const std::string& usage,
                                                   const std::string& argument, int count_max,
                                                   po::options_description options) {
  options.add_options()("help,h", "print this text");
  options.add_options()("host", po::value<std::string>()->default_value("127.0.0.1"),
                        "where the server's HTTP port is");
  options.add_options()("port,p", po::value<std::string>()->default_value("9464"),
                        "the server's HTTP port (its key http.port)");
  options.add_options()("url", po::value<std::string>(),
                        "instead of these, where the server is as a URL: "
                        "https://millrace.example.com:9443 is asked inside TLS");
  add_tls_options(options);
  options.add_options()("user,u", po::value<std::string>(),
                        "the user as whom to ask; the password is asked for");
  options.add_options()("password-file", po::value<std::string>(),
                        "a file whose first line is the password");
  options.add_options()("token-file", po::value<std::string>(),
                        "instead of a user, a file whose first line is a token");
  options.add_options()("allow-clear",
                        "send the password or the token to another machine without TLS, too");
  po::options_description all;
  all.add(options);
  po::positional_options_description positional;
  if (count_max > 0) {
    all.add_options()(argument.c_str(), po::value<std::vector<std::string>>(), "");
    positional.add(argument.c_str(), count_max);
  }
  po::variables_map values = parse_options(arguments, all, positional);
  if (values.count("help") == 0) return values;
  std::cout << "usage: " << usage << "\n\n" << options;
  return std::nullopt;
}

ApiClient::ApiClient(const po::variables_map& values)
    : url_(url_of(values)),
      tls_(client_tls(url_, values)),
      allow_clear_(values.count("allow-clear") > 0),
      authorization_(authorization_of(values)) {}

void ApiClient::connect() {
  beast::error_code error;
  const auto addresses = asio::ip::tcp::resolver(context_).resolve(url_.host, url_.port, error);
  if (error) fail(error);
  refuse_secret_in_clear(addresses);
  stream_.emplace(asio::ip::tcp::socket(context_), tls_);
  buffer_.clear();
  stream_->tcp().connect(addresses, error);
  if (error) {
    stream_.reset();  // not yet TLS that failed
    fail(error);
  }
  if (!tls_) return;
  if (!expect_server(stream_->ssl(), url_.host)) {
    stream_.reset();
    throw std::runtime_error(url_.host + " is no name that a certificate can be held to");
  }
  stream_->handshake(HttpStream::Side::client, error);
  if (error) fail(error);
}

// Before a byte is sent: the name may stand for several addresses, and any of them may be taken.
void ApiClient::refuse_secret_in_clear(
    const asio::ip::tcp::resolver::results_type& addresses) const {
  if (authorization_.empty() || tls_ || allow_clear_) return;
  for (const auto& one : addresses) {
    if (is_loopback(address_group(one.endpoint().address().to_string()))) continue;
    throw std::runtime_error(url_.host +
                             " is not this machine, and the password or token would go there in "
                             "clear: give --url https://..., or --allow-clear where nobody can "
                             "read it on the way");
  }
}

void ApiClient::fail(const boost::system::error_code& error) {
  std::string why =
      stream_ && stream_->uses_tls() ? tls_failure(stream_->ssl(), url_, error) : error.message();
  if (!tls_ && error == http::error::end_of_stream) {
    why += ": if it speaks TLS, --url https://...";  // which ends what is not TLS without a word
  }
  stream_.reset();
  throw std::runtime_error(url_.host + " port " + url_.port + ": " + why);
}

std::string ApiClient::request(const std::string& method, const std::string& target,
                               const std::string& body) {
  http::request<http::string_body> request;
  request.method_string(method);
  request.target(target);
  request.version(11);
  request.set(http::field::host, url_.host_field());
  if (!authorization_.empty()) request.set(http::field::authorization, authorization_);
  request.body() = body;
  request.prepare_payload();
  http::response_parser<http::string_body> parser;
  parser.body_limit(std::numeric_limits<std::uint64_t>::max());
  beast::error_code error;
  const bool fresh = !stream_;
  if (fresh) connect();
  http::write(*stream_, request, error);
  if (!error) http::read(*stream_, buffer_, parser, error);
  if (error) {
    // A connection that was kept may have been closed meanwhile; only what changes nothing is asked
    // again.
    if (fresh || method != "GET") fail(error);
    stream_.reset();
    return this->request(method, target, body);
  }
  const auto response = parser.release();
  if (!response.keep_alive()) stream_.reset();
  if (response.result_int() / 100 == 2) return response.body();
  throw ApiRefusal(response.result_int(), detail_of(response));
}

std::string parameter(const po::variables_map& values, const char* option, const char* name) {
  if (values.count(option) == 0) return "";
  return "&" + std::string(name) + "=" + percent_encode(values[option].as<std::string>());
}

std::string percent_encode(std::string_view text, bool keep_slashes) {
  constexpr std::string_view plain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
  std::string encoded;
  for (const char c : text) {
    if (plain.find(c) != plain.npos || (keep_slashes && c == '/')) {
      encoded += c;
      continue;
    }
    char code[4];
    std::snprintf(code, sizeof code, "%%%02X", static_cast<unsigned char>(c));
    encoded += code;
  }
  return encoded;
}

std::string printable(std::string_view text) {
  std::string shown;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0u;
    const auto third = i + 2 < text.size() ? static_cast<unsigned char>(text[i + 2]) : 0u;
    const bool c1 = byte == 0xC2 && next < 0xA0;  // U+0080 to U+009F
    // U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069
    const bool turns =
        byte == 0xE2 &&
        ((next == 0x80 && (third == 0x8E || third == 0x8F || (third >= 0xAA && third <= 0xAE))) ||
         (next == 0x81 && third >= 0xA6 && third <= 0xA9));
    const std::size_t escaped = turns ? 3 : c1 ? 2 : byte < 0x20 || byte == 0x7F ? 1 : 0;
    if (escaped == 0) {
      shown += text[i];
      continue;
    }
    for (const char part :
         text.substr(i, escaped)) {  // all of it: a byte 0x9B alone begins CSI, too
      char code[5];
      std::snprintf(code, sizeof code, "\\x%02x", static_cast<unsigned char>(part));
      shown += code;
    }
    i += escaped - 1;
  }
  return shown;
}

std::string short_number(double value) {
  constexpr const char* units[] = {"", " k", " M", " G", " T"};
  std::size_t unit = 0;
  for (; std::fabs(value) >= 999.5 && unit < 4; ++unit) value /= 1000;
  const int digits = value >= 100 || value == std::floor(value) ? 0 : value >= 10 ? 1 : 2;
  char text[32];
  std::snprintf(text, sizeof text, "%.*f%s", digits, value, units[unit]);
  return text;
}

std::string short_time(double seconds) {
  char text[32];
  if (seconds < 1) {
    std::snprintf(text, sizeof text, "%.0f ms", seconds * 1000);
  } else if (seconds < 120) {
    std::snprintf(text, sizeof text, "%.0f s", seconds);
  } else if (seconds < 7200) {
    std::snprintf(text, sizeof text, "%.0f min", seconds / 60);
  } else if (seconds < 172'800) {
    std::snprintf(text, sizeof text, "%.0f h", seconds / 3600);
  } else {
    std::snprintf(text, sizeof text, "%.0f d", seconds / 86'400);
  }
  return text;
}

}  // namespace millrace::server
