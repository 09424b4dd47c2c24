// Whom an HTTP request is meant for: its Host field, or the authority of an absolute target. Shared
// by the WebSocket handshake and the HTTP server. Pure; any thread.
//
// Why it matters: a browser runs pages of strangers beside servers that listen on its own machine.
// A page can make its own name stand for 127.0.0.1 (DNS rebinding) and then ask there in the
// visitor's place; but the browser still says the page's name in Host and Origin.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace millrace::server {

// Of "Example.com:8083" and "[::1]:80": "example.com" and "::1". Nothing: malformed.
std::optional<std::string> host_of_authority(std::string_view authority);

struct RequestTarget {
  std::string_view authority;  // empty: the target names none
  std::string_view path;       // with the query
};
// "/mqtt?x", or "http://example.com/mqtt?x" (RFC 9112, section 3.2.2), or the same with ws.
RequestTarget split_target(std::string_view target);

// localhost, and the addresses that never leave the machine.
bool is_local_host(const std::string& host);

}  // namespace millrace::server
