#include "server/net/tls_stream.hpp"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "server/auth/certificate.hpp"
#include "server/auth/tls_context.hpp"

namespace millrace::server {

namespace {

constexpr std::size_t record_bytes_max = SSL3_RT_MAX_PLAIN_LENGTH;

// Cuts what is to be written into records: as they lie in memory where a piece is large, and many
// small pieces put together. A record is valid until the next one of the same thread.
class RecordCutter {
 public:
  explicit RecordCutter(std::span<const iovec> pieces) : pieces_(pieces) { skip_empty(); }

  bool done() const { return pieces_.empty(); }

  std::span<const std::uint8_t> next() {
    if (left_of_piece() >= record_bytes_max || pieces_.size() == 1) {
      return take(record_bytes_max);
    }
    thread_local std::array<std::uint8_t, record_bytes_max> gathered;
    std::size_t size = 0;
    while (!done() && size < record_bytes_max) {
      const auto part = take(record_bytes_max - size);
      std::memcpy(gathered.data() + size, part.data(), part.size());
      size += part.size();
    }
    return {gathered.data(), size};
  }

 private:
  std::size_t left_of_piece() const { return pieces_.front().iov_len - at_; }

  std::span<const std::uint8_t> take(std::size_t bytes_max) {
    const auto* begin = static_cast<const std::uint8_t*>(pieces_.front().iov_base) + at_;
    const std::size_t count = std::min(left_of_piece(), bytes_max);
    at_ += count;
    skip_empty();
    return {begin, count};
  }

  void skip_empty() {
    while (!done() && left_of_piece() == 0) {
      pieces_ = pieces_.subspan(1);
      at_ = 0;
    }
  }

  std::span<const iovec> pieces_;
  std::size_t at_ = 0;  // in the first of them
};

}  // namespace

TlsStream::TlsStream(Poller& poller, int fd, boost::asio::ssl::context& context,
                     const TlsServer* server)
    : TcpStream(poller, fd),
      ssl_(SSL_new(context.native_handle())),
      context_(context.native_handle()),
      is_client_(server != nullptr) {
  if (!ssl_) return;
  if (server == nullptr) {
    SSL_set_accept_state(ssl_.get());
  } else {
    SSL_set_connect_state(ssl_.get());
    // A name that cannot be checked: no handshake.
    if (!expect_server(ssl_.get(), server->name, server->must_match)) ssl_.reset();
  }
}

void TlsStream::begin() {
  if (!ssl_ || SSL_set_fd(ssl_.get(), fd()) != 1) {
    if (is_client_) failure_ = std::make_unique<std::string>("TLS: the name cannot be checked");
    return user().on_open_failed();
  }
  handshaking_ = true;
  handshake();
}

void TlsStream::handshake() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_.get());
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
      note_failure();
      handshaking_ = false;
      discard_received(fd());
      return user().on_open_failed();
  }
}

// OpenSSL gave up. Only the client's side keeps each reason, as few are there: a server may have any
// number of peers that break TLS. What it has against a client's certificate it keeps too: that may be
// for whoever runs it to mend.
void TlsStream::note_failure() {
  const unsigned long error = ERR_peek_last_error();
  ERR_clear_error();
  if (!is_client_) {
    const char* refusal = handshaking_ ? certificate_refusal(ssl_.get(), error) : nullptr;
    if (refusal != nullptr) failure_ = std::make_unique<std::string>(refusal);
    return;
  }
  const bool verifies = SSL_get_verify_mode(ssl_.get()) != SSL_VERIFY_NONE;
  const long verified = verifies ? SSL_get_verify_result(ssl_.get()) : X509_V_OK;
  const char* reason = verified != X509_V_OK ? X509_verify_cert_error_string(verified)
                                             : ERR_reason_error_string(error);
  failure_ = std::make_unique<std::string>("TLS: ");
  failure_->append(reason != nullptr ? reason : "the connection ended");
}

std::string TlsStream::failure() const {
  return failure_ ? *failure_ : std::string();
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
      note_failure();
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
  if (const IoStatus status = flush_record(); status != IoStatus::ok) return {status};
  std::size_t taken = 0;
  for (RecordCutter cutter(from); !cutter.done();) {
    std::span<const std::uint8_t> record = cutter.next();
    taken += record.size();
    const IoStatus status = put(record);
    if (status == IoStatus::failed) return {IoStatus::failed};
    if (status == IoStatus::again) {
      record_.assign(record.begin(), record.end());
      break;
    }
  }
  return {IoStatus::ok, taken};
}

// Takes off the front of `record` what OpenSSL took: the client may have asked for smaller records.
IoStatus TlsStream::put(std::span<const std::uint8_t>& record) {
  write_wants_read_ = false;
  while (!record.empty()) {
    ERR_clear_error();
    const int count = SSL_write(ssl_.get(), record.data(), static_cast<int>(record.size()));
    if (count <= 0) {
      const IoStatus status = status_of(count, false, write_wants_read_);
      return status == IoStatus::again ? status : IoStatus::failed;
    }
    record = record.subspan(static_cast<std::size_t>(count));
  }
  return IoStatus::ok;
}

IoStatus TlsStream::flush_record() {
  if (record_.empty()) return IoStatus::ok;
  std::span<const std::uint8_t> left(record_);
  const IoStatus status = put(left);
  record_.erase(record_.begin(), record_.end() - static_cast<std::ptrdiff_t>(left.size()));
  if (record_.empty()) record_.shrink_to_fit();  // an idle connection holds none
  return status;
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

std::optional<std::string> TlsStream::certified_user(CertificateUser part) const {
  const X509* certificate = ssl_ ? SSL_get0_peer_certificate(ssl_.get()) : nullptr;
  if (certificate == nullptr || part == CertificateUser::none) return std::nullopt;
  return user_of_certificate(certificate, part);
}

bool TlsStream::certificate_holds(const TlsSetup& newest) const {
  return !ssl_ || peer_certificate_holds(ssl_.get(), context_, newest.context->native_handle());
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
