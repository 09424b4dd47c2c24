// What a client says in the headers of a question about a topic, and what may be said back. Pure;
// any thread. Source: RFC 9110 (sections 8.3, 8.8.3, 13.1.2), RFC 7240.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "server/http/server.hpp"

namespace millrace::server {

// Does If-None-Match name this entity, or any at all (`*`)? Several header lines count as one list;
// compared weakly, as RFC 9110 has it for GET. False also without the header.
bool none_match_names(const HttpRequest& request, std::string_view etag);
bool has_none_match(const HttpRequest& request);

// `Prefer: wait=10`; the first counts, what is no number of seconds is not there.
std::optional<std::uint32_t> preferred_wait_seconds(const HttpRequest& request);

// May this, which a publisher wrote, stand in a Content-Type header? type "/" subtype, parameters
// of visible ASCII.
bool valid_media_type(std::string_view text);

}  // namespace millrace::server
