// The HTTP request by which a client opens a WebSocket, and what is answered to it.
//
// No socket: bytes in, bytes out. Source: RFC 6455, section 4.2; MQTT 5.0, section 6.
#pragma once

#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace millrace::server {

class WebSocketUpgrade {
 public:
  WebSocketUpgrade();

  enum class Status : std::uint8_t { incomplete, accepted, refused, malformed };

  // Takes the next received bytes. `path`: where MQTT is served.
  Status take(std::span<const std::uint8_t> bytes, const std::string& path);

  // The whole HTTP answer, once it is accepted or refused.
  const std::string& answer() const { return answer_; }
  // What came behind the request.
  std::span<const std::uint8_t> rest() const { return received_; }

 private:
  Status judge(const std::string& path);

  boost::beast::http::request_parser<boost::beast::http::empty_body> parser_;
  std::vector<std::uint8_t> received_;  // not yet parsed
  std::string answer_;
};

}  // namespace millrace::server
