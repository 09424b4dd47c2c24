// The HTTP request by which a client opens a WebSocket, and what is answered to it.
//
// Every request is answered: 101, or an error that says what is wrong (400 malformed, 403 of a
// stranger's web page, 404 another path, 426 no WebSocket, 431 too large).
//
// No socket: bytes in, bytes out. Source: RFC 6455, sections 4.2 and 11.3.4; MQTT 5.0, section 6.
#pragma once

#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/status.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/config/config.hpp"

namespace millrace::server {

class WebSocketUpgrade {
 public:
  static constexpr std::size_t request_bytes_max = 16 * 1024;

  WebSocketUpgrade();

  enum class Status : std::uint8_t { incomplete, accepted, refused };

  // Takes the next received bytes of a request to this listener.
  Status take(std::span<const std::uint8_t> bytes, const ListenerConfig& listener);

  // The whole HTTP answer, once it is accepted or refused.
  const std::string& answer() const { return answer_; }
  // What the request says about whom it is passed on for; see forwarded_for.hpp.
  std::string forwarded_for() const;
  // What came behind the request.
  std::span<const std::uint8_t> rest() const { return received_; }

 private:
  using Request = boost::beast::http::request<boost::beast::http::empty_body>;

  Status judge(const ListenerConfig& listener);
  Status refuse(boost::beast::http::status status, std::string_view why);
  // The host that the request is meant for; nothing: it does not say, or not clearly.
  std::optional<std::string> host() const;
  bool allows_origin(const ListenerConfig& listener, const std::string& host) const;
  std::optional<std::string_view> chosen_subprotocol() const;
  const Request& request() const { return parser_.get(); }

  boost::beast::http::request_parser<boost::beast::http::empty_body> parser_;
  std::vector<std::uint8_t> received_;  // not yet parsed
  std::string answer_;
};

}  // namespace millrace::server
