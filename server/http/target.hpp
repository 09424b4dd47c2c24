// The target of an HTTP request, taken apart. Pure; any thread. Source: RFC 9112 section 3.2,
// RFC 3986.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace millrace::server {

// "%2F" to "/". False: a broken escape, or a zero byte.
bool percent_decode(std::string_view text, bool plus_is_space, std::string& out);

// "/topics/a%2Fb?wait=5" (or the absolute form) to its decoded path and query. False: malformed.
bool parse_http_target(std::string_view target, std::string& path,
                       std::vector<std::pair<std::string, std::string>>& query);

}  // namespace millrace::server
