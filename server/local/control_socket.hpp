// The control socket's file: a Unix socket that listens at a path.
//
// Thread contract: any thread. What holds: a file that is somebody's, or at which a server answers,
// stays; a socket that a killed server left behind does not stop the next start.
#pragma once

#include <string>

#include "core/shm/ring/memory.hpp"

namespace millrace::server {

// Listens at `path` with the file mode `mode`, without blocking; empty when that is impossible:
// `error` says why.
shm::UniqueFd listen_at(const std::string& path, unsigned mode, std::string& error);

}  // namespace millrace::server
