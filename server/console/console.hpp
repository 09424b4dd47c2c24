// The page at `/`: topics, clients and the flow of messages in a browser. Its sources are beside
// this file; the build makes files of hashed names of them, which are in the program, gzip-encoded
// (embed.mjs), with the licences of what is in it. A build without npm has none: then `/` lists the
// routes.
//
// The page asks nothing of any other machine, and its Content-Security-Policy would not let it.
//
// Threads: before http.start().
#pragma once

#include <span>
#include <string_view>

#include "server/http/server.hpp"

namespace millrace::server {

struct ConsoleFile {
  std::string_view path;  // "/" or "/assets/index-3f2a.js"
  std::string_view content_type;
  std::span<const unsigned char> gzip;
};
// Empty: it was built without.
std::span<const ConsoleFile> console_files();

void add_console_routes(HttpServer& http);

}  // namespace millrace::server
