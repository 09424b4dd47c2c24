#include "server/net/websocket_client.hpp"

#include <algorithm>
#include <array>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/rfc7230.hpp>
#include <cstring>
#include <utility>
#include <vector>

#include "protocol/websocket.hpp"
#include "server/auth/crypto.hpp"
#include "server/net/tcp_stream.hpp"

namespace millrace::server {

namespace websocket = protocol::websocket;
namespace http = boost::beast::http;

namespace {

constexpr std::size_t response_bytes_max = 16 * 1024;
constexpr std::size_t chunk_bytes = 4 * 1024;
constexpr std::size_t frame_bytes_max = 64 * 1024;

// New for each frame, and not to be guessed (RFC 6455, section 5.3).
std::uint32_t new_mask() {
  std::uint32_t mask = 0;
  random_bytes(sizeof mask).copy(reinterpret_cast<char*>(&mask), sizeof mask);
  return mask;
}

// RFC 6455, section 4.2.2: what proves that the server understood the request.
std::string accept_of(const std::string& key) {
  return to_base64(digest(Digest::sha1, key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
}

// `Base`: the transport below, TcpStream or TlsStream.
template <class Base>
class WebSocketClient final : public Base {
 public:
  template <class... Arguments>
  explicit WebSocketClient(WebSocketTarget target, Arguments&&... arguments)
      : Base(std::forward<Arguments>(arguments)...),
        target_(std::move(target)),
        key_(to_base64(random_bytes(16))) {}

  IoResult read(std::span<std::uint8_t> into) override;
  IoResult write(std::span<const iovec> from) override;
  IoStatus flush() override;
  void wait_readable() override;
  void shutdown() override;
  std::string failure() const override { return failure_.empty() ? Base::failure() : failure_; }

 private:
  using Base::user;

  void opened() override;
  void readable() override;
  void writable() override;
  void go_on_asking();
  void read_response();
  std::string fault_of(std::size_t& head_bytes) const;
  void fail_open(std::string why);
  void append_frame(std::span<const iovec> from, std::size_t skipped, std::size_t payload_bytes);
  IoStatus over_status() const { return reader_.fault() ? IoStatus::broken : IoStatus::end; }
  void finish_closing();

  const WebSocketTarget target_;
  const std::string key_;
  bool asked_ = false;  // the request is sent
  bool open_ = false;
  bool closing_ = false;
  std::string response_;             // as far as it has come
  std::vector<std::uint8_t> early_;  // frames that came together with it
  std::string failure_;
  websocket::FrameReader reader_{websocket::Role::client};
  std::vector<std::uint8_t> unsent_;  // the request, or frames
  std::size_t unsent_at_ = 0;
  std::string answer_;  // a control frame that goes out between two data frames
};

// --- Handshake -----------------------------------------------------------------------------------

template <class Base>
void WebSocketClient<Base>::opened() {
  const std::string request = "GET " + target_.path + " HTTP/1.1\r\nHost: " + target_.authority +
                              "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                              "Sec-WebSocket-Key: " +
                              key_ +
                              "\r\nSec-WebSocket-Version: 13\r\n"
                              "Sec-WebSocket-Protocol: mqtt\r\n\r\n";
  unsent_.assign(request.begin(), request.end());
  go_on_asking();
}

template <class Base>
void WebSocketClient<Base>::go_on_asking() {
  const IoStatus status = flush();
  if (status == IoStatus::again) return Base::wait_writable();
  if (status == IoStatus::failed) return fail_open("");
  asked_ = true;
  Base::wait_readable();
}

template <class Base>
void WebSocketClient<Base>::readable() {
  open_ ? user().on_readable() : read_response();
}

template <class Base>
void WebSocketClient<Base>::read_response() {
  for (;;) {
    std::array<std::uint8_t, chunk_bytes> chunk;
    const IoResult result = Base::read(chunk);
    if (result.status == IoStatus::again) return Base::wait_readable();
    if (result.status != IoStatus::ok) return fail_open("the connection ended before the answer");
    response_.append(chunk.begin(), chunk.begin() + static_cast<std::ptrdiff_t>(result.bytes));
    if (response_.find("\r\n\r\n") != std::string::npos) break;
    if (response_.size() > response_bytes_max) return fail_open("the answer is too long");
  }
  std::size_t head_bytes = 0;
  if (std::string fault = fault_of(head_bytes); !fault.empty()) return fail_open(std::move(fault));
  early_.assign(response_.begin() + static_cast<std::ptrdiff_t>(head_bytes), response_.end());
  std::string().swap(response_);
  open_ = true;
  user().on_open();
}

// Why the answer is no agreement; empty: it is, and that long.
template <class Base>
std::string WebSocketClient<Base>::fault_of(std::size_t& head_bytes) const {
  http::response_parser<http::empty_body> parser;
  parser.skip(true);
  boost::beast::error_code error;
  head_bytes = parser.put(boost::asio::buffer(response_), error);
  if (error || !parser.is_header_done()) return "the answer is no HTTP";
  const auto& answer = parser.get();
  if (answer.result_int() != 101) {
    return "refused: " + std::to_string(answer.result_int()) + " " + std::string(answer.reason());
  }
  // RFC 6455, section 4.1: the client has to look at each of these.
  if (!boost::beast::iequals(answer[http::field::upgrade], "websocket") ||
      !http::token_list(answer[http::field::connection]).exists("upgrade")) {
    return "the answer is no upgrade to WebSocket";
  }
  if (answer["Sec-WebSocket-Accept"] != accept_of(key_)) return "the answer is to another request";
  if (answer.count("Sec-WebSocket-Extensions") > 0) {
    return "the server wants an extension that was not offered";
  }
  if (answer["Sec-WebSocket-Protocol"] != "mqtt") return "the server does not speak mqtt there";
  return {};
}

template <class Base>
void WebSocketClient<Base>::fail_open(std::string why) {
  if (!why.empty()) failure_ = "WebSocket: " + why;
  discard_received(Base::fd());
  user().on_open_failed();
}

// --- Reading -------------------------------------------------------------------------------------

template <class Base>
IoResult WebSocketClient<Base>::read(std::span<std::uint8_t> into) {
  if (reader_.over()) return {over_status()};
  IoResult received{IoStatus::ok, std::min(into.size(), early_.size())};
  if (early_.empty()) {
    received = Base::read(into);
    if (received.status != IoStatus::ok) return received;
  } else {
    std::memcpy(into.data(), early_.data(), received.bytes);
    early_.erase(early_.begin(), early_.begin() + static_cast<std::ptrdiff_t>(received.bytes));
  }
  const std::size_t payload_bytes = reader_.unframe(into.first(received.bytes));
  if (std::string answer = reader_.take_answer(new_mask()); !answer.empty() && !closing_) {
    answer_ = std::move(answer);
    if (flush() == IoStatus::again) Base::wait_writable();
  }
  if (payload_bytes > 0) return {IoStatus::ok, payload_bytes};
  return {reader_.over() ? over_status() : IoStatus::again};
}

template <class Base>
void WebSocketClient<Base>::wait_readable() {
  if (!early_.empty() || (reader_.over() && !closing_)) return Base::post_readable();
  Base::wait_readable();
}

// --- Writing -------------------------------------------------------------------------------------

// What the kernel does not take of a frame waits in unsent_, and nothing more is taken meanwhile.
template <class Base>
IoResult WebSocketClient<Base>::write(std::span<const iovec> from) {
  std::size_t total = 0;
  for (const iovec& part : from) total += part.iov_len;
  std::size_t taken = 0;
  while (taken < total) {
    const IoStatus flushed = flush();
    if (flushed == IoStatus::failed) return {IoStatus::failed};
    if (flushed == IoStatus::again) break;
    const std::size_t payload_bytes = std::min(total - taken, frame_bytes_max);
    append_frame(from, taken, payload_bytes);
    taken += payload_bytes;
  }
  if (taken == 0) return {IoStatus::again};
  if (flush() == IoStatus::failed) return {IoStatus::failed};
  return {IoStatus::ok, taken};
}

template <class Base>
void WebSocketClient<Base>::append_frame(std::span<const iovec> from, std::size_t skipped,
                                         std::size_t payload_bytes) {
  std::uint32_t mask = new_mask();
  std::array<std::uint8_t, websocket::masked_header_bytes_max> header;
  const std::size_t header_bytes =
      websocket::encode_header(websocket::Opcode::binary, payload_bytes, mask, header);
  unsent_.insert(unsent_.end(), header.begin(),
                 header.begin() + static_cast<std::ptrdiff_t>(header_bytes));
  std::size_t at = unsent_.size();
  unsent_.resize(at + payload_bytes);
  for (const iovec& part : from) {
    if (skipped >= part.iov_len) {
      skipped -= part.iov_len;
      continue;
    }
    const std::size_t count = std::min(part.iov_len - skipped, payload_bytes);
    const auto* begin = static_cast<const std::uint8_t*>(part.iov_base) + skipped;
    mask = websocket::apply_mask(mask, begin, unsent_.data() + at, count);
    at += count;
    payload_bytes -= count;
    skipped = 0;
    if (payload_bytes == 0) return;
  }
}

template <class Base>
IoStatus WebSocketClient<Base>::flush() {
  for (;;) {
    if (unsent_at_ == unsent_.size()) {
      unsent_.assign(answer_.begin(), answer_.end());
      unsent_at_ = 0;
      answer_.clear();
      if (unsent_.empty()) break;
    }
    const iovec part{unsent_.data() + unsent_at_, unsent_.size() - unsent_at_};
    const IoResult result = Base::write({&part, 1});
    if (result.status != IoStatus::ok) return result.status;
    unsent_at_ += result.bytes;
  }
  return Base::flush();
}

template <class Base>
void WebSocketClient<Base>::writable() {
  if (!open_) {
    if (!asked_) go_on_asking();
    return;
  }
  if (closing_) return finish_closing();
  if (flush() == IoStatus::again) return Base::wait_writable();
  user().on_writable();
}

// --- The end -------------------------------------------------------------------------------------

template <class Base>
void WebSocketClient<Base>::shutdown() {
  if (closing_) return;
  closing_ = true;
  // A peer that closed first has its answer.
  if (!reader_.over() || reader_.fault()) {
    answer_ =
        websocket::encode_close(reader_.fault().value_or(websocket::CloseCode::normal), new_mask());
  }
  finish_closing();
}

template <class Base>
void WebSocketClient<Base>::finish_closing() {
  if (flush() == IoStatus::again) return Base::wait_writable();
  Base::shutdown();
}

}  // namespace

std::unique_ptr<Stream> make_websocket_client(Poller& poller, int fd, WebSocketTarget target) {
  return std::make_unique<WebSocketClient<TcpStream>>(std::move(target), poller, fd);
}

std::unique_ptr<Stream> make_secure_websocket_client(Poller& poller, int fd,
                                                     boost::asio::ssl::context& context,
                                                     const TlsServer& server,
                                                     WebSocketTarget target) {
  return std::make_unique<WebSocketClient<TlsStream>>(std::move(target), poller, fd, context,
                                                      &server);
}

}  // namespace millrace::server
