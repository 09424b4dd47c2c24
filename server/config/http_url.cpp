#include "server/config/http_url.hpp"

#include <algorithm>
#include <charconv>

#include "server/config/config.hpp"

namespace millrace::server {

std::string HttpUrl::host_field() const {
  const std::string name = host.find(':') == std::string::npos ? host : "[" + host + "]";
  return port == (uses_tls ? "443" : "80") ? name : name + ":" + port;
}

std::optional<HttpUrl> parse_http_url(std::string_view text, std::string& fault) {
  fault = "must look like \"http://127.0.0.1:8080/login\" or \"https://...\", not \"" +
          std::string(text) + "\"";
  HttpUrl url;
  constexpr std::string_view clear = "http://", inside_tls = "https://";
  url.uses_tls = text.starts_with(inside_tls);
  if (!url.uses_tls && !text.starts_with(clear)) return std::nullopt;
  text.remove_prefix(url.uses_tls ? inside_tls.size() : clear.size());
  const auto is_plain = [](unsigned char c) { return c > 0x20 && c < 0x7f && c != '#'; };
  if (!std::all_of(text.begin(), text.end(), is_plain)) return std::nullopt;
  const auto slash = std::min(text.find('/'), text.size());
  url.target = slash == text.size() ? "/" : std::string(text.substr(slash));
  std::string_view authority = text.substr(0, slash);
  if (authority.find('@') != std::string_view::npos) return std::nullopt;  // a secret in the log
  if (authority.find('?') != std::string_view::npos) return std::nullopt;  // no path before it
  auto end = std::min(authority.find(':'), authority.size());
  if (authority.starts_with('[')) {
    const auto close = authority.find(']');
    if (close == std::string_view::npos) return std::nullopt;
    url.host = authority.substr(1, close - 1);
    if (!is_address(url.host)) return std::nullopt;
    end = close + 1;
  } else {
    url.host = authority.substr(0, end);
  }
  const std::string_view rest = authority.substr(end);
  url.port = url.uses_tls ? "443" : "80";
  if (!rest.empty()) {
    unsigned port = 0;
    const auto [stop, error] = std::from_chars(rest.data() + 1, rest.data() + rest.size(), port);
    const bool is_port = error == std::errc() && stop == rest.data() + rest.size();
    if (rest.front() != ':' || !is_port || port == 0 || port > 65'535) return std::nullopt;
    url.port = std::to_string(port);
  }
  if (url.host.empty()) return std::nullopt;
  fault.clear();
  return url;
}

}  // namespace millrace::server
