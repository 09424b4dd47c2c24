// The stream that a listener's connections speak through. `tls`: null exactly if it uses none; the
// stream keeps what it needs of it. Takes the socket `fd`, which is non-blocking.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>

#include "server/config/config.hpp"
#include "server/net/poller.hpp"
#include "server/net/stream.hpp"

namespace millrace::server {

std::unique_ptr<Stream> make_stream(const ListenerConfig& listener, boost::asio::ssl::context* tls,
                                    Poller& poller, int fd);

}  // namespace millrace::server
