// What GET /events asks for: its query, taken apart and judged. Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "server/http/server.hpp"

namespace millrace::server {

struct EventQuery {
  static constexpr std::size_t filters_max = 16;
  static constexpr std::uint32_t payload_bytes_unlimited = UINT32_MAX;

  std::vector<std::string> filters;
  std::optional<double> max_rate_hz;
  std::uint32_t payload_bytes_max = payload_bytes_unlimited;
};
// `levels_max`: of a filter. If it makes no sense, `fault` says why.
std::optional<EventQuery> parse_event_query(const HttpRequest& request, std::uint32_t levels_max,
                                            std::string& fault);

}  // namespace millrace::server
