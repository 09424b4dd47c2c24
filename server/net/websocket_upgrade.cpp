#include "server/net/websocket_upgrade.hpp"

#include <openssl/evp.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/beast/websocket/rfc6455.hpp>
#include <optional>
#include <sstream>
#include <string_view>

#include "server/auth/crypto.hpp"

namespace millrace::server {

namespace beast = boost::beast;
namespace http = beast::http;

namespace {

constexpr std::size_t request_bytes_max = 8 * 1024;
constexpr std::size_t key_bytes = 16;

std::string_view view(beast::string_view text) {
  return {text.data(), text.size()};
}

// Does the comma-separated list name `mqtt`? (MQTT 3.1 clients say `mqttv3.1`.)
std::optional<std::string_view> chosen_subprotocol(std::string_view offered) {
  while (!offered.empty()) {
    const std::size_t comma = offered.find(',');
    std::string_view word = offered.substr(0, comma);
    while (!word.empty() && word.front() == ' ') word.remove_prefix(1);
    while (!word.empty() && word.back() == ' ') word.remove_suffix(1);
    if (word == "mqtt") return "mqtt";
    if (word == "mqttv3.1") return "mqttv3.1";
    if (comma == std::string_view::npos) break;
    offered.remove_prefix(comma + 1);
  }
  return std::nullopt;
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

std::string refusal(http::status status, unsigned version, std::string_view why) {
  http::response<http::string_body> response(status, version);
  response.set(http::field::content_type, "text/plain");
  if (status == http::status::upgrade_required) {
    response.set(http::field::upgrade, "websocket");
    response.set(http::field::sec_websocket_version, "13");
  }
  response.keep_alive(false);
  response.body() = std::string(why);
  response.prepare_payload();
  return text_of(response);
}

}  // namespace

WebSocketUpgrade::WebSocketUpgrade() {
  parser_.header_limit(request_bytes_max);
}

WebSocketUpgrade::Status WebSocketUpgrade::take(std::span<const std::uint8_t> bytes,
                                                const std::string& path) {
  received_.insert(received_.end(), bytes.begin(), bytes.end());
  beast::error_code error;
  const std::size_t used =
      parser_.put(boost::asio::buffer(received_.data(), received_.size()), error);
  received_.erase(received_.begin(), received_.begin() + static_cast<std::ptrdiff_t>(used));
  if (error && error != http::error::need_more) return Status::malformed;
  if (!parser_.is_header_done()) return Status::incomplete;
  return judge(path);
}

WebSocketUpgrade::Status WebSocketUpgrade::judge(const std::string& path) {
  const auto& request = parser_.get();
  const auto refuse = [&](http::status status, std::string_view why) {
    answer_ = refusal(status, request.version(), why);
    return Status::refused;
  };
  if (!beast::websocket::is_upgrade(request) ||
      request[http::field::sec_websocket_version] != "13") {
    return refuse(http::status::upgrade_required, "This is an MQTT broker: WebSocket only.\n");
  }
  const std::string_view target = view(request.target());
  if (target.substr(0, target.find('?')) != path) {
    return refuse(http::status::not_found, "MQTT is not served at this path.\n");
  }
  const std::string_view key = view(request[http::field::sec_websocket_key]);
  const auto nonce = from_base64(key);
  if (!nonce || nonce->size() != key_bytes) {
    return refuse(http::status::bad_request, "Sec-WebSocket-Key must be 16 bytes in Base64.\n");
  }
  const auto subprotocol = chosen_subprotocol(view(request[http::field::sec_websocket_protocol]));
  if (!subprotocol) {
    return refuse(http::status::bad_request, "The subprotocol mqtt must be offered.\n");
  }
  http::response<http::empty_body> response(http::status::switching_protocols, request.version());
  response.set(http::field::upgrade, "websocket");
  response.set(http::field::connection, "Upgrade");
  response.set(http::field::sec_websocket_accept, accept_of(key));
  response.set(http::field::sec_websocket_protocol,
               beast::string_view(subprotocol->data(), subprotocol->size()));
  answer_ = text_of(response);
  return Status::accepted;
}

}  // namespace millrace::server
