// What the kernel knows about a TCP connection (TCP_INFO, Linux 5.4 and later for the window).
//
// Threads: any; one system call, about half a microsecond.
#pragma once

#include <optional>

#include "server/net/late_window.hpp"

namespace millrace::server {

// Nothing: not a TCP socket, or a kernel that does not tell the peer's window. `now_ns` is what the
// sample says it was taken at.
std::optional<PathSample> sample_path(int fd, std::int64_t now_ns);

}  // namespace millrace::server
