// The stream that a listener's connections speak through.
#pragma once

#include <memory>

#include "server/listener_info.hpp"
#include "server/transport.hpp"

namespace millrace::server {

std::unique_ptr<Stream> make_stream(const ListenerInfo& listener, TcpSocket socket);

}  // namespace millrace::server
