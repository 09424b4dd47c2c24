#include "server/net/tls_context.hpp"

#include <openssl/ssl.h>

#include <boost/system/system_error.hpp>
#include <stdexcept>
#include <string>

namespace millrace::server {

namespace ssl = boost::asio::ssl;

namespace {
// Held by a connection only while a record is incomplete.
constexpr std::size_t read_buffer_bytes = 64 * 1024;
}  // namespace

std::shared_ptr<ssl::context> make_tls_context(const ListenerConfig& listener) {
  if (!listener.uses_tls()) return nullptr;
  const TlsConfig& config = listener.tls;
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  SSL_CTX* native = context->native_handle();
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  SSL_CTX_set_options(
      native, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(native, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                               SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  // Several records with one read of the socket, instead of two reads for each.
  SSL_CTX_set_read_ahead(native, 1);
  SSL_CTX_set_default_read_buffer_len(native, read_buffer_bytes);
  boost::system::error_code error;
  context->use_certificate_chain_file(config.certificate_file, error);
  if (error) {
    throw std::runtime_error("cannot use the certificate " + config.certificate_file + ": " +
                             error.message());
  }
  context->use_private_key_file(config.key_file, ssl::context::pem, error);
  if (error) {
    throw std::runtime_error("cannot use the key " + config.key_file + ": " + error.message());
  }
  if (SSL_CTX_check_private_key(native) != 1) {
    throw std::runtime_error("the key " + config.key_file + " does not belong to the certificate " +
                             config.certificate_file);
  }
  return context;
}

}  // namespace millrace::server
