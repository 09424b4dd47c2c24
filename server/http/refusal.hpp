// How requests are refused in plain text. The management API makes problems of these (problem.hpp).
// Pure; any thread.
#pragma once

#include <string>

#include "server/http/server.hpp"

namespace millrace::server {

HttpResponse refusal(unsigned status, std::string why);
// 401: asks for a user name and a password.
HttpResponse unauthorized(std::string why);
// 503: the same request may be answered a second later.
HttpResponse busy(std::string why);

}  // namespace millrace::server
