// A Unix socket that listens at a path: the control socket, or a listener of MQTT.
//
// Thread contract: any thread.
// What holds: a file that is not a socket, or at which a server answers, is left alone; a socket
// that a killed server left behind does not prevent the next start; of several that start at the same
// time one listens. For this there is a file beside the socket, `path`.lock, which is the server's user's
// alone and stays.
#pragma once

#include <string>

#include "core/shm/ring/memory.hpp"

namespace millrace::server {

// A non-blocking socket that listens at `path`, with the file mode `mode`, and with at most `backlog`
// connections that wait to be accepted. Empty: `error` says why.
shm::UniqueFd listen_at(const std::string& path, unsigned mode, int backlog, std::string& error);

}  // namespace millrace::server
