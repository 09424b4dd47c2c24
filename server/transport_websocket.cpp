#include "server/transport_websocket.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <cstring>
#include <optional>
#include <type_traits>
#include <vector>

namespace millrace::server {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace websocket = beast::websocket;

namespace {

constexpr std::size_t frame_bytes_max = 64 * 1024;
constexpr std::size_t read_chunk_bytes = 16 * 1024;
constexpr std::size_t handshake_bytes_max = 16 * 1024;

using PlainLayer = TcpSocket;
using SecureLayer = asio::ssl::stream<TcpSocket>;

// Does the comma-separated list name `mqtt`? (MQTT 3.1 clients say `mqttv3.1`.)
std::optional<std::string_view> chosen_subprotocol(std::string_view offered) {
  while (!offered.empty()) {
    const std::size_t comma = offered.find(',');
    std::string_view word = offered.substr(0, comma);
    while (!word.empty() && word.front() == ' ') word.remove_prefix(1);
    while (!word.empty() && word.back() == ' ') word.remove_suffix(1);
    if (word == "mqtt" || word == "mqttv3.1") return word == "mqtt" ? "mqtt" : "mqttv3.1";
    if (comma == std::string_view::npos) break;
    offered.remove_prefix(comma + 1);
  }
  return std::nullopt;
}

template <class Layer>
class WebSocketStream final : public Stream {
 public:
  template <class... Arguments>
  WebSocketStream(const std::string& path, Arguments&&... arguments)
      : socket_(std::forward<Arguments>(arguments)...), path_(path) {}

  void open(StreamUser& user) override;
  IoResult read(std::span<std::uint8_t> into) override;
  IoResult write(std::span<const iovec> from) override;
  IoStatus flush() override;
  void wait_readable() override;
  void wait_writable() override { wants_writable_ = true; }
  void shutdown() override;
  void close() override;
  TcpSocket& socket() override { return beast::get_lowest_layer(socket_); }

 private:
  // What lives only until the handshake is over.
  struct Handshake {
    beast::flat_buffer buffer{handshake_bytes_max};
    http::request_parser<http::empty_body> parser;
    std::optional<http::response<http::string_body>> refusal;
  };

  StreamUserRef keep() { return StreamUserRef(user_); }
  bool closed() { return !socket().is_open(); }
  void read_request();
  void on_request();
  void accept(std::string_view subprotocol);
  void refuse(http::status status, std::string_view why);
  void fail_open();
  void read_more();
  void on_read(const beast::error_code& error, std::size_t bytes);
  void on_written(const beast::error_code& error);
  void do_close();

  websocket::stream<Layer> socket_;
  const std::string& path_;  // the listener's
  StreamUser* user_ = nullptr;
  std::unique_ptr<Handshake> handshake_;
  std::unique_ptr<std::array<std::uint8_t, read_chunk_bytes>> chunk_;
  std::size_t chunk_at_ = 0;
  std::size_t chunk_end_ = 0;
  std::vector<std::uint8_t> frame_;  // being written
  std::optional<IoStatus> read_over_;
  bool reading_ = false;
  bool writing_ = false;
  bool posted_ = false;
  bool wants_readable_ = false;
  bool wants_writable_ = false;
  bool write_failed_ = false;
  bool wants_close_ = false;  // once the frame is out
  bool closing_ = false;
  websocket::close_code close_code_ = websocket::close_code::normal;
};

// --- Handshakes
// -------------------------------------------------------------------------------------

template <class Layer>
void WebSocketStream<Layer>::open(StreamUser& user) {
  user_ = &user;
  handshake_ = std::make_unique<Handshake>();
  handshake_->parser.header_limit(handshake_bytes_max / 2);
  // Timeouts are the connection's; compression would undo the gathering of small packets.
  socket_.binary(true);
  socket_.auto_fragment(false);
  socket_.read_message_max(0);  // the limit is on packets, which need not respect frames
  if constexpr (std::is_same_v<Layer, SecureLayer>) {
    socket_.next_layer().async_handshake(asio::ssl::stream_base::server,
                                         [this, keep = keep()](const beast::error_code& error) {
                                           if (error) return fail_open();
                                           read_request();
                                         });
  } else {
    read_request();
  }
}

template <class Layer>
void WebSocketStream<Layer>::read_request() {
  http::async_read(socket_.next_layer(), handshake_->buffer, handshake_->parser,
                   [this, keep = keep()](const beast::error_code& error, std::size_t) {
                     if (error) return fail_open();
                     on_request();
                   });
}

template <class Layer>
void WebSocketStream<Layer>::on_request() {
  const auto& request = handshake_->parser.get();
  if (!websocket::is_upgrade(request)) {
    return refuse(http::status::upgrade_required, "This is an MQTT broker: WebSocket only.\n");
  }
  const std::string_view target(request.target().data(), request.target().size());
  if (target.substr(0, target.find('?')) != path_) {
    return refuse(http::status::not_found, "MQTT is not served at this path.\n");
  }
  const auto offered = request[http::field::sec_websocket_protocol];
  const auto subprotocol = chosen_subprotocol({offered.data(), offered.size()});
  if (!subprotocol) {
    return refuse(http::status::bad_request, "The subprotocol mqtt must be offered.\n");
  }
  accept(*subprotocol);
}

template <class Layer>
void WebSocketStream<Layer>::accept(std::string_view subprotocol) {
  socket_.set_option(
      websocket::stream_base::decorator([subprotocol](websocket::response_type& response) {
        response.set(http::field::sec_websocket_protocol,
                     beast::string_view(subprotocol.data(), subprotocol.size()));
      }));
  socket_.async_accept(handshake_->parser.get(),
                       [this, keep = keep()](const beast::error_code& error) {
                         if (error) return fail_open();
                         handshake_.reset();
                         user_->on_open();
                       });
}

template <class Layer>
void WebSocketStream<Layer>::refuse(http::status status, std::string_view why) {
  auto& response = handshake_->refusal.emplace(status, handshake_->parser.get().version());
  response.set(http::field::content_type, "text/plain");
  if (status == http::status::upgrade_required) response.set(http::field::upgrade, "websocket");
  response.keep_alive(false);
  response.body() = std::string(why);
  response.prepare_payload();
  http::async_write(socket_.next_layer(), response,
                    [this, keep = keep()](const beast::error_code&, std::size_t) { fail_open(); });
}

template <class Layer>
void WebSocketStream<Layer>::fail_open() {
  if (closed()) return;
  discard_received(socket());
  user_->on_open_failed();
}

// --- Reading
// ----------------------------------------------------------------------------------------

template <class Layer>
IoResult WebSocketStream<Layer>::read(std::span<std::uint8_t> into) {
  const std::size_t bytes = std::min(into.size(), chunk_end_ - chunk_at_);
  if (bytes == 0) return {read_over_.value_or(IoStatus::again)};
  std::memcpy(into.data(), chunk_->data() + chunk_at_, bytes);
  chunk_at_ += bytes;
  return {IoStatus::ok, bytes};
}

template <class Layer>
void WebSocketStream<Layer>::wait_readable() {
  if (chunk_at_ == chunk_end_ && !read_over_) {
    wants_readable_ = true;
    return read_more();
  }
  if (posted_) return;
  posted_ = true;
  asio::post(socket().get_executor(), [this, keep = keep()] {
    posted_ = false;
    if (!closed()) user_->on_readable();
  });
}

template <class Layer>
void WebSocketStream<Layer>::read_more() {
  if (reading_) return;
  reading_ = true;
  if (!chunk_) chunk_ = std::make_unique<std::array<std::uint8_t, read_chunk_bytes>>();
  socket_.async_read_some(asio::buffer(*chunk_),
                          [this, keep = keep()](const beast::error_code& error, std::size_t bytes) {
                            on_read(error, bytes);
                          });
}

template <class Layer>
void WebSocketStream<Layer>::on_read(const beast::error_code& error, std::size_t bytes) {
  reading_ = false;
  if (closed()) return;
  chunk_at_ = 0;
  chunk_end_ = error ? 0 : bytes;
  if (error) {
    read_over_ = error == websocket::error::closed ? IoStatus::end : IoStatus::failed;
  } else if (socket_.got_text()) {
    chunk_end_ = 0;
    read_over_ = IoStatus::broken;
    close_code_ = websocket::close_code::unknown_data;  // 1003
  } else if (bytes == 0) {
    return read_more();  // an empty frame
  }
  if (!wants_readable_) return;
  wants_readable_ = false;
  user_->on_readable();
}

// --- Writing
// ----------------------------------------------------------------------------------------

template <class Layer>
IoResult WebSocketStream<Layer>::write(std::span<const iovec> from) {
  if (write_failed_) return {IoStatus::failed};
  if (writing_ || closing_) return {IoStatus::again};
  frame_.clear();
  for (const iovec& part : from) {
    const std::size_t bytes = std::min(part.iov_len, frame_bytes_max - frame_.size());
    const auto* begin = static_cast<const std::uint8_t*>(part.iov_base);
    frame_.insert(frame_.end(), begin, begin + bytes);
    if (frame_.size() == frame_bytes_max) break;
  }
  writing_ = true;
  socket_.async_write(
      asio::buffer(frame_),
      [this, keep = keep()](const beast::error_code& error, std::size_t) { on_written(error); });
  return {IoStatus::ok, frame_.size()};
}

template <class Layer>
IoStatus WebSocketStream<Layer>::flush() {
  if (write_failed_) return IoStatus::failed;
  return writing_ ? IoStatus::again : IoStatus::ok;
}

template <class Layer>
void WebSocketStream<Layer>::on_written(const beast::error_code& error) {
  writing_ = false;
  write_failed_ = static_cast<bool>(error);
  if (closed()) return;
  if (frame_.capacity() > 4096) std::vector<std::uint8_t>().swap(frame_);
  if (wants_close_) return do_close();
  if (!wants_writable_) return;
  wants_writable_ = false;
  user_->on_writable();
}

// --- The end
// ----------------------------------------------------------------------------------------

template <class Layer>
void WebSocketStream<Layer>::shutdown() {
  if (closing_ || wants_close_) return;
  wants_close_ = true;
  if (!writing_) do_close();
}

// Sends the close frame, and reads until the peer's.
template <class Layer>
void WebSocketStream<Layer>::do_close() {
  closing_ = true;
  socket_.async_close(close_code_, [this, keep = keep()](const beast::error_code&) {
    if (closed()) return;
    read_over_ = read_over_.value_or(IoStatus::end);
    user_->on_readable();
  });
}

template <class Layer>
void WebSocketStream<Layer>::close() {
  beast::error_code ignored;
  socket().close(ignored);
}

}  // namespace

std::unique_ptr<Stream> make_websocket_stream(TcpSocket socket, const std::string& path) {
  return std::make_unique<WebSocketStream<PlainLayer>>(path, std::move(socket));
}

std::unique_ptr<Stream> make_secure_websocket_stream(TcpSocket socket,
                                                     boost::asio::ssl::context& context,
                                                     const std::string& path) {
  return std::make_unique<WebSocketStream<SecureLayer>>(path, std::move(socket), context);
}

}  // namespace millrace::server
