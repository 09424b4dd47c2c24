// Web pages of other origins that read over HTTP (CORS): which may, and what their browser is told.
//
// A browser lets a page of another origin see an answer only if the answer says so, and asks
// (OPTIONS) before it sends an Authorization or If-None-Match for such a page. Requests without an
// Origin are nobody's page and not concerned.
//
// Source: Fetch Standard, section 3.2 (https://fetch.spec.whatwg.org).
//
// Threads: the HTTP thread.
#pragma once

#include <string>
#include <vector>

#include "server/http/server.hpp"

namespace millrace::server {

// Adds to the answer what lets pages of an origin in `allowed` read it. None is allowed: nothing.
void allow_origin(HttpExchange& exchange, const std::vector<std::string>& allowed);
// Answers a browser that asks what its page may send.
void answer_preflight(HttpExchange& exchange, const std::vector<std::string>& allowed);

}  // namespace millrace::server
