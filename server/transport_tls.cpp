#include "server/transport_tls.hpp"

#include <openssl/err.h>

#include <algorithm>
#include <cstring>

namespace millrace::server {

namespace {
constexpr std::size_t record_bytes_max = 16 * 1024;
}

TlsStream::TlsStream(Poller& poller, int fd, boost::asio::ssl::context& context)
    : TcpStream(poller, fd), ssl_(SSL_new(context.native_handle())) {}

void TlsStream::open(StreamUser& user) {
  TcpStream::attach(user);
  if (!ssl_ || SSL_set_fd(ssl_.get(), fd()) != 1) {
    return user.on_open_failed();
  }
  handshaking_ = true;
  handshake();
}

void TlsStream::handshake() {
  ERR_clear_error();
  const int result = SSL_accept(ssl_.get());
  if (result == 1) {
    handshaking_ = false;
    maybe_buffered_ = true;  // the first packet may have come with the last flight
    return opened();
  }
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      found_nothing();
      return TcpStream::wait_readable();
    case SSL_ERROR_WANT_WRITE:
      return TcpStream::wait_writable();
    default:
      ERR_clear_error();
      handshaking_ = false;
      discard_received(fd());
      return user().on_open_failed();
  }
}

void TlsStream::on_wait_over(bool can_read) {
  if (handshaking_) return handshake();
  // TLS may have to write to be able to read (a key update), and the other way round.
  if (can_read ? write_wants_read_ : read_wants_write_) {
    write_wants_read_ = read_wants_write_ = false;
    writable();
    if (is_open()) readable();
    return;
  }
  TcpStream::on_wait_over(can_read);
}

// `wants_other`: reading waits for writability, or writing for readability.
IoStatus TlsStream::status_of(int result, bool reading, bool& wants_other) {
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      found_nothing();
      wants_other = !reading;
      return IoStatus::again;
    case SSL_ERROR_WANT_WRITE:
      wants_other = reading;
      return IoStatus::again;
    case SSL_ERROR_ZERO_RETURN:
      return IoStatus::end;
    default:
      ERR_clear_error();
      broken_ = true;
      return IoStatus::failed;
  }
}

// As many records as fit.
IoResult TlsStream::read(std::span<std::uint8_t> into) {
  std::size_t total = 0;
  maybe_buffered_ = false;
  read_wants_write_ = false;
  while (total < into.size()) {
    ERR_clear_error();
    const auto room = static_cast<int>(std::min<std::size_t>(into.size() - total, 1 << 30));
    const int got = SSL_read(ssl_.get(), into.data() + total, room);
    if (got > 0) {
      total += static_cast<std::size_t>(got);
      continue;
    }
    const IoStatus status = status_of(got, true, read_wants_write_);
    if (total > 0) {
      // An end or a failure shows again at the next read.
      maybe_buffered_ = status != IoStatus::again;
      return {IoStatus::ok, total};
    }
    return {status};
  }
  maybe_buffered_ = true;
  return {IoStatus::ok, total};
}

IoResult TlsStream::write(std::span<const iovec> from) {
  std::size_t taken = 0;
  std::size_t part = 0;
  std::size_t part_at = 0;
  for (;;) {
    const IoStatus status = flush_record();
    if (status == IoStatus::failed) return {IoStatus::failed};
    if (status == IoStatus::again) break;
    if (part == from.size()) break;
    // Many packets make one record.
    while (part < from.size() && record_.size() < record_bytes_max) {
      const iovec& source = from[part];
      const std::size_t count =
          std::min(source.iov_len - part_at, record_bytes_max - record_.size());
      const auto* begin = static_cast<const std::uint8_t*>(source.iov_base) + part_at;
      record_.insert(record_.end(), begin, begin + count);
      taken += count;
      part_at += count;
      if (part_at == source.iov_len) {
        ++part;
        part_at = 0;
      }
    }
  }
  if (taken == 0) return {IoStatus::again};
  return {IoStatus::ok, taken};
}

IoStatus TlsStream::flush_record() {
  write_wants_read_ = false;
  while (record_sent_ < record_.size()) {
    ERR_clear_error();
    const int put = SSL_write(ssl_.get(), record_.data() + record_sent_,
                              static_cast<int>(record_.size() - record_sent_));
    if (put <= 0) {
      const IoStatus status = status_of(put, false, write_wants_read_);
      return status == IoStatus::again ? status : IoStatus::failed;
    }
    record_sent_ += static_cast<std::size_t>(put);
  }
  record_.clear();
  record_sent_ = 0;
  // An idle connection holds no record.
  if (record_.capacity() > 0) std::vector<std::uint8_t>().swap(record_);
  return IoStatus::ok;
}

void TlsStream::wait_readable() {
  // The socket may never become readable for bytes that are here already.
  if (maybe_buffered_) return post_readable();
  if (read_wants_write_) return TcpStream::wait_writable();
  TcpStream::wait_readable();
}

void TlsStream::wait_writable() {
  if (write_wants_read_) return TcpStream::wait_readable();
  TcpStream::wait_writable();
}

void TlsStream::shutdown() {
  if (ssl_ && !broken_ && SSL_is_init_finished(ssl_.get())) {
    ERR_clear_error();
    SSL_shutdown(ssl_.get());  // the close alert; its answer is not waited for
    ERR_clear_error();
  }
  TcpStream::shutdown();
}

}  // namespace millrace::server
