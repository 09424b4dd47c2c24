// The TLS side of a listener: TLS 1.2 and later, no renegotiation, no compression, the server's
// order of ciphers, idle connections without buffers. Null for a listener without TLS. Throws
// std::runtime_error that names the file at fault. Start-up and reload only; the context may be
// shared by all threads.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>

#include "server/config/config.hpp"

namespace millrace::server {

std::shared_ptr<boost::asio::ssl::context> make_tls_context(const ListenerConfig& listener);

}  // namespace millrace::server
