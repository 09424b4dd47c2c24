// The options of every TCP connection of this server, whoever began it. Any thread.
#pragma once

#include "server/config/config.hpp"

namespace millrace::server {

// Sends at once, and notices a peer whose machine lost its power: that one says nothing, and MQTT's
// keep alive may be off. What a listening socket has, those that it accepts inherit. False: the
// system refuses one of them; errno says why.
bool set_tcp_options(int fd, const ConnectionConfig& limits);

}  // namespace millrace::server
