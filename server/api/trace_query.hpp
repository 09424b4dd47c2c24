// POST /trace: what is to be traced, and for how long. Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "server/http/server.hpp"
#include "server/observe/trace.hpp"

namespace millrace::server {

struct TraceQuery {
  TraceSubject subject;
  std::uint32_t minutes = 5;
};
// If it makes no sense, `fault` says why.
std::optional<TraceQuery> parse_trace_query(const HttpRequest& request, std::string& fault);

}  // namespace millrace::server
