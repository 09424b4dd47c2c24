// Problem details (RFC 9457): how the management API says what is wrong. Pure; any thread.
#pragma once

#include <string>
#include <string_view>

#include "server/http/server.hpp"

namespace millrace::server {

HttpResponse problem(unsigned status, std::string_view detail);
// A refusal in plain text as a problem, with its headers.
HttpResponse problem_of(HttpResponse refusal);
// As a request for that path is refused: the management API has problems, the rest plain text.
HttpResponse refusal_at(std::string_view path, HttpResponse refusal);

}  // namespace millrace::server
