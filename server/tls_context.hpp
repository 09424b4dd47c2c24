// The TLS side of a listener: TLS 1.2 and later, no renegotiation, no compression, the server's
// order of ciphers, idle connections without buffers. Throws std::runtime_error that names the file
// at fault. Start-up only; the context may be shared by all threads.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>

#include "server/config.hpp"

namespace millrace::server {

std::shared_ptr<boost::asio::ssl::context> make_tls_context(const TlsConfig& config);

}  // namespace millrace::server
