// App: the server as a whole, from a valid configuration to exit code.
//
//     configuration -> access -> processor and inbox -> I/O threads -> listeners -> HTTP
//
// SIGTERM and SIGINT drain: not ready, nothing more is accepted or read, the queue empties, what
// was handed over is written, clients are told, exit 0 within drain_seconds. SIGHUP reloads as one
// step: configuration, files of users, certificates.
//
// Threads: run() belongs to main's.
#pragma once

#include <memory>

#include "server/auth/settings.hpp"

namespace millrace::server {

// Serves until a signal ends it. 0: ended as asked; 1: could not start, the log says why.
// `sources` is where a reload looks.
int run(std::shared_ptr<const Settings> settings, const ConfigSources& sources = {});

}  // namespace millrace::server
