// HttpStream: the bytes of one HTTP connection, in clear or inside TLS: an AsyncStream of Asio, for
// Beast; and a SyncStream, for a command that has nothing else to do than to wait. Time-outs,
// cancelling and the end are those of the TCP stream below, whichever it is.
//
// The end is that of TCP, without a close alert of TLS: a message says how long it is, or comes in
// chunks, so that nobody can cut it off unnoticed.
//
// Threads: that of its io_context.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "server/auth/certificate.hpp"

namespace millrace::server {

class HttpStream {
 public:
  using executor_type = boost::beast::tcp_stream::executor_type;
  using Side = boost::asio::ssl::stream_base::handshake_type;

  // `tls`: null: in clear.
  HttpStream(boost::asio::ip::tcp::socket socket, std::shared_ptr<boost::asio::ssl::context> tls)
      : tcp_(std::move(socket)), context_(std::move(tls)) {
    if (context_) tls_.emplace(tcp_, *context_);
  }
  HttpStream(const HttpStream&) = delete;
  HttpStream& operator=(const HttpStream&) = delete;

  bool uses_tls() const { return tls_.has_value(); }
  template <class Handler>
  void async_handshake(Side side, Handler&& handler) {
    tls_->async_handshake(side, std::forward<Handler>(handler));
  }
  SSL* ssl() { return tls_->native_handle(); }
  // False: a handshake with this newer context would not accept the certificate that the other end
  // has shown.
  bool certificate_holds(boost::asio::ssl::context& newest) {
    return !tls_ ||
           peer_certificate_holds(ssl(), context_->native_handle(), newest.native_handle());
  }

  template <class Buffers, class Handler>
  void async_read_some(const Buffers& into, Handler&& handler) {
    if (tls_) return tls_->async_read_some(into, std::forward<Handler>(handler));
    tcp_.async_read_some(into, std::forward<Handler>(handler));
  }
  template <class Buffers, class Handler>
  void async_write_some(const Buffers& from, Handler&& handler) {
    if (tls_) return tls_->async_write_some(from, std::forward<Handler>(handler));
    tcp_.async_write_some(from, std::forward<Handler>(handler));
  }

  void handshake(Side side, boost::system::error_code& error) { tls_->handshake(side, error); }
  template <class Buffers>
  std::size_t read_some(const Buffers& into, boost::system::error_code& error) {
    return tls_ ? tls_->read_some(into, error) : tcp_.read_some(into, error);
  }
  template <class Buffers>
  std::size_t read_some(const Buffers& into) {
    return tls_ ? tls_->read_some(into) : tcp_.read_some(into);
  }
  template <class Buffers>
  std::size_t write_some(const Buffers& from, boost::system::error_code& error) {
    return tls_ ? tls_->write_some(from, error) : tcp_.write_some(from, error);
  }
  template <class Buffers>
  std::size_t write_some(const Buffers& from) {
    return tls_ ? tls_->write_some(from) : tcp_.write_some(from);
  }

  executor_type get_executor() { return tcp_.get_executor(); }
  void expires_after(std::chrono::nanoseconds time) { tcp_.expires_after(time); }
  void expires_never() { tcp_.expires_never(); }
  void cancel() { tcp_.cancel(); }
  void close() { tcp_.close(); }
  boost::beast::tcp_stream& tcp() { return tcp_; }
  boost::asio::ip::tcp::socket& socket() { return tcp_.socket(); }
  const boost::asio::ip::tcp::socket& socket() const { return tcp_.socket(); }

 private:
  boost::beast::tcp_stream tcp_;
  const std::shared_ptr<boost::asio::ssl::context> context_;
  std::optional<boost::asio::ssl::stream<boost::beast::tcp_stream&>> tls_;  // unset: in clear
};

}  // namespace millrace::server
