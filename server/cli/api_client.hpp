// What the subcommands that ask a running server share: their options, and requests to its
// management API, in clear or inside TLS.
//
// Threads: main's alone.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>

#include "server/cli/cli.hpp"
#include "server/config/http_url.hpp"
#include "server/net/http_stream.hpp"

namespace millrace::server {

// Parses with --help added, with the options that say where the server is and who asks, and at most
// `count_max` positional arguments under the name `argument` (as std::vector<std::string>). Nothing
// if --help was given; then the text was printed.
std::optional<boost::program_options::variables_map> parse_api_command(
    const Arguments& arguments, const std::string& usage, const std::string& argument,
    int count_max, boost::program_options::options_description options);

// The server's answer was not 2xx.
struct ApiRefusal : std::runtime_error {
  ApiRefusal(unsigned its_status, const std::string& detail)
      : std::runtime_error(std::to_string(its_status) + ": " + detail), status(its_status) {}

  const unsigned status;
};

// "&NAME=VALUE" if the option was given; else nothing.
std::string parameter(const boost::program_options::variables_map& values, const char* option,
                      const char* name);

class ApiClient {
 public:
  // Of what was parsed; asks for a password on the terminal if there is a user and no file.
  explicit ApiClient(const boost::program_options::variables_map& values);

  // The answer's body. Throws ApiRefusal, or std::runtime_error if there is no answer.
  std::string request(const std::string& method, const std::string& target,
                      const std::string& body = "");
  nlohmann::json get(const std::string& target) {
    return nlohmann::json::parse(request("GET", target));
  }

 private:
  void connect();
  void refuse_secret_in_clear(const boost::asio::ip::tcp::resolver::results_type& addresses) const;
  [[noreturn]] void fail(const boost::system::error_code& error);

  const HttpUrl url_;
  const std::shared_ptr<boost::asio::ssl::context> tls_;  // null: in clear
  const bool allow_clear_;
  std::string authorization_;
  boost::asio::io_context context_;
  std::optional<HttpStream> stream_;
  boost::beast::flat_buffer buffer_;
};

// "a/b?" as a part of a URL; a slash stays one if `keep_slashes`.
std::string percent_encode(std::string_view text, bool keep_slashes = false);
// For a terminal: control characters, and those that turn the direction of text, are spelled out.
std::string printable(std::string_view text);
// "1.2 k", "3 min"
std::string short_number(double value);
std::string short_time(double seconds);

}  // namespace millrace::server
