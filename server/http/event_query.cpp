#include "server/http/event_query.hpp"

#include <cmath>
#include <utility>

#include "protocol/topic.hpp"
#include "server/http/target.hpp"

namespace millrace::server {

std::optional<EventQuery> parse_event_query(const HttpRequest& request, std::uint32_t levels_max,
                                            std::string& fault) {
  EventQuery query;
  for (const auto& [name, value] : request.query) {
    if (name == "filter") {
      const auto parsed = protocol::parse_filter(value, levels_max);
      if (!parsed) {
        fault = "filter: not a topic filter: \"" + value + "\" (in a URL, # is %23 and + is %2B)";
      } else if (parsed->latest || parsed->shared()) {
        fault = "filter: without its prefix, please: " + value;
      }
      query.filters.push_back(value);
    } else if (name == "max_rate_hz") {
      query.max_rate_hz = parse_number<double>(value);
      const bool makes_sense = query.max_rate_hz && std::isfinite(*query.max_rate_hz) &&
                               *query.max_rate_hz >= 0.001 && *query.max_rate_hz <= 100'000;
      if (!makes_sense) fault = "max_rate_hz: not a rate from 0.001 to 100000: " + value;
    } else if (name == "payload_bytes_max") {
      const auto bytes = parse_number<std::uint32_t>(value);
      if (!bytes) fault = "payload_bytes_max: not a number of bytes: " + value;
      query.payload_bytes_max = bytes.value_or(0);
    } else {
      fault = "unknown parameter: " + name + " (there are filter, max_rate_hz, payload_bytes_max)";
    }
  }
  if (query.filters.empty()) fault = "filter: which topics? (?filter=a/%23)";
  if (query.filters.size() > EventQuery::filters_max) fault = "filter: 16 at most";
  return fault.empty() ? std::optional(std::move(query)) : std::nullopt;
}

}  // namespace millrace::server
