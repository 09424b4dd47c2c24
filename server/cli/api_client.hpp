// What the subcommands that ask a running server share: their options, and requests to its
// management API over plain HTTP.
//
// Threads: main's alone.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "server/cli/cli.hpp"

namespace millrace::server {

// Parses with --help, --host, --port, --user and --password-file added, and at most `count_max`
// positional arguments under the name `argument` (as std::vector<std::string>). Nothing if --help
// was given; then the text was printed.
std::optional<boost::program_options::variables_map> parse_api_command(
    const Arguments& arguments, const std::string& usage, const std::string& argument,
    int count_max, boost::program_options::options_description options);

class ApiClient {
 public:
  // Of what was parsed; asks for a password on the terminal if there is a user and no file.
  explicit ApiClient(const boost::program_options::variables_map& values);

  // The answer's body. Throws std::runtime_error with what the server says of anything but 2xx.
  std::string request(const std::string& method, const std::string& target,
                      const std::string& body = "");
  nlohmann::json get(const std::string& target) {
    return nlohmann::json::parse(request("GET", target));
  }

 private:
  void connect();

  const std::string host_;
  const std::string port_;
  std::string authorization_;
  boost::asio::io_context context_;
  std::optional<boost::beast::tcp_stream> stream_;
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
