#include "server/net/websocket_upgrade.hpp"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/beast/websocket/rfc6455.hpp>
#include <sstream>

#include "core/base/trimmed.hpp"
#include "server/auth/crypto.hpp"
#include "server/net/http_host.hpp"

namespace millrace::server {

namespace beast = boost::beast;
namespace http = beast::http;

namespace {

constexpr std::size_t key_bytes = 16;

std::string_view view(beast::string_view text) {
  return {text.data(), text.size()};
}

// Does the comma-separated list name a protocol of ours? (MQTT 3.1 clients say `mqttv3.1`.)
std::optional<std::string_view> subprotocol_in(std::string_view offered) {
  while (!offered.empty()) {
    const std::size_t comma = std::min(offered.find(','), offered.size() - 1);
    const bool is_last = offered[comma] != ',';
    const std::string_view word =
        base::trimmed(offered.substr(0, is_last ? offered.size() : comma));
    if (word == "mqtt") return "mqtt";
    if (word == "mqttv3.1") return "mqttv3.1";
    if (is_last) break;
    offered.remove_prefix(comma + 1);
  }
  return std::nullopt;
}

bool has_path(const ListenerConfig& listener, std::string_view path) {
  path = path.substr(0, path.find('?'));
  const auto same = [](std::string_view one, std::string_view other) {
    while (one.size() > 1 && one.ends_with('/')) one.remove_suffix(1);
    while (other.size() > 1 && other.ends_with('/')) other.remove_suffix(1);
    return one == other;
  };
  return std::any_of(listener.path.begin(), listener.path.end(),
                     [&](const std::string& candidate) { return same(candidate, path); });
}

// The proof that the request was understood as a WebSocket's. (RFC 6455, section 4.2.2)
std::string accept_of(std::string_view key) {
  return to_base64(digest(Digest::sha1, std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
}

template <class Response>
std::string text_of(const Response& response) {
  std::ostringstream text;
  text << response;
  return std::move(text).str();
}

}  // namespace

WebSocketUpgrade::WebSocketUpgrade() {
  parser_.header_limit(request_bytes_max);
}

WebSocketUpgrade::Status WebSocketUpgrade::take(std::span<const std::uint8_t> bytes,
                                                const ListenerConfig& listener) {
  received_.insert(received_.end(), bytes.begin(), bytes.end());
  beast::error_code error;
  const std::size_t used =
      parser_.put(boost::asio::buffer(received_.data(), received_.size()), error);
  received_.erase(received_.begin(), received_.begin() + static_cast<std::ptrdiff_t>(used));
  if (error == http::error::header_limit) {
    return refuse(http::status::request_header_fields_too_large, "Request header too large.\n");
  }
  if (error && error != http::error::need_more) {
    return refuse(http::status::bad_request, "This is no HTTP request.\n");
  }
  if (!parser_.is_header_done()) return Status::incomplete;
  return judge(listener);
}

WebSocketUpgrade::Status WebSocketUpgrade::refuse(http::status status, std::string_view why) {
  http::response<http::string_body> response(status, 11);
  response.set(http::field::content_type, "text/plain");
  if (status == http::status::upgrade_required) {
    response.set(http::field::upgrade, "websocket");
    response.set(http::field::sec_websocket_version, "13");
  }
  response.keep_alive(false);
  response.body() = std::string(why);
  response.prepare_payload();
  answer_ = text_of(response);
  return Status::refused;
}

std::string WebSocketUpgrade::forwarded_for() const {
  std::string all;
  const auto fields = request().equal_range("X-Forwarded-For");
  for (auto field = fields.first; field != fields.second; ++field) {
    if (!all.empty()) all += ',';
    all += view(field->value());
  }
  return all;
}

// RFC 9112, section 3.2: exactly one Host, whatever the target says; but the target counts.
std::optional<std::string> WebSocketUpgrade::host() const {
  const auto fields = request().equal_range(http::field::host);
  if (fields.first == fields.second || std::next(fields.first) != fields.second)
    return std::nullopt;
  const std::string_view authority = split_target(view(request().target())).authority;
  return host_of_authority(authority.empty() ? view(fields.first->value()) : authority);
}

// A browser says which page is asking. Pages of this host may, and those that are listed; but on a
// loopback listener a page's own name proves nothing (see http_host.hpp).
bool WebSocketUpgrade::allows_origin(const ListenerConfig& listener,
                                     const std::string& host) const {
  const auto fields = request().equal_range(http::field::origin);
  if (fields.first == fields.second) return true;
  if (std::next(fields.first) != fields.second) return false;
  const std::string_view origin = view(fields.first->value());
  for (const std::string& allowed : listener.origins) {
    if (allowed == "*" || beast::iequals(allowed, origin)) return true;
  }
  const auto scheme = origin.find("://");
  if (scheme == std::string_view::npos) return false;  // "null": a page that has no origin to show
  if (host_of_authority(origin.substr(scheme + 3)) != host) return false;
  return !is_loopback(listener.host) || is_local_host(host);
}

std::optional<std::string_view> WebSocketUpgrade::chosen_subprotocol() const {
  // The field may stand more than once; that is one list. (RFC 6455, section 11.3.4)
  const auto fields = request().equal_range(http::field::sec_websocket_protocol);
  for (auto field = fields.first; field != fields.second; ++field) {
    if (const auto chosen = subprotocol_in(view(field->value()))) return chosen;
  }
  return std::nullopt;
}

WebSocketUpgrade::Status WebSocketUpgrade::judge(const ListenerConfig& listener) {
  if (!beast::websocket::is_upgrade(request()) ||
      request()[http::field::sec_websocket_version] != "13") {
    return refuse(http::status::upgrade_required, "This is an MQTT broker: WebSocket only.\n");
  }
  const auto host = this->host();
  if (!host) return refuse(http::status::bad_request, "There must be one Host that can be read.\n");
  if (!has_path(listener, split_target(view(request().target())).path)) {
    return refuse(http::status::not_found, "MQTT is not served at this path.\n");
  }
  if (!allows_origin(listener, *host)) {
    return refuse(http::status::forbidden,
                  "Pages of this origin may not connect (listeners[i].origins).\n");
  }
  const std::string_view key = view(request()[http::field::sec_websocket_key]);
  const auto nonce = from_base64(key);
  if (!nonce || nonce->size() != key_bytes) {
    return refuse(http::status::bad_request, "Sec-WebSocket-Key must be 16 bytes in Base64.\n");
  }
  const auto subprotocol = chosen_subprotocol();
  if (!subprotocol) {
    return refuse(http::status::bad_request, "The subprotocol mqtt must be offered.\n");
  }
  http::response<http::empty_body> response(http::status::switching_protocols, 11);
  response.set(http::field::upgrade, "websocket");
  response.set(http::field::connection, "Upgrade");
  response.set(http::field::sec_websocket_accept, accept_of(key));
  response.set(http::field::sec_websocket_protocol,
               beast::string_view(subprotocol->data(), subprotocol->size()));
  answer_ = text_of(response);
  return Status::accepted;
}

}  // namespace millrace::server
