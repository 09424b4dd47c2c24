// Where an HTTP server is, as its URL says: http://127.0.0.1:8080/mqtt/login. Pure; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace millrace::server {

struct HttpUrl {
  bool uses_tls = false;
  std::string host;  // a name or an address, without brackets
  std::string port;
  std::string target;  // "/mqtt/login?x=y"

  // For the header.
  std::string host_field() const;
};

// Nothing: `fault` says what is wrong with it.
std::optional<HttpUrl> parse_http_url(std::string_view text, std::string& fault);

}  // namespace millrace::server
