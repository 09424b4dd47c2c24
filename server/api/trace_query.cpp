#include "server/api/trace_query.hpp"

#include <utility>

#include "server/http/target.hpp"

namespace millrace::server {

namespace {

using Kind = TraceSubject::Kind;

std::string fault_of_parameter(const std::string& name, const std::string& value,
                               std::optional<TraceSubject>& subject, std::uint32_t& minutes) {
  if (name == "minutes") {
    const auto number = parse_number<std::uint32_t>(value);
    const bool fits = number && *number > 0 && *number <= Traces::time_max.count();
    if (fits) minutes = *number;
    return fits ? "" : "minutes: 1 to " + std::to_string(Traces::time_max.count());
  }
  for (const Kind kind : {Kind::client, Kind::topic, Kind::address}) {
    if (name != word_of(kind)) continue;
    if (subject) return "one of client, topic and address";
    subject = TraceSubject{kind, value};
    return Traces::fault_of(*subject);
  }
  return "unknown parameter: " + name + " (there are client, topic, address, minutes)";
}

}  // namespace

std::optional<TraceQuery> parse_trace_query(const HttpRequest& request, std::string& fault) {
  TraceQuery query;
  std::optional<TraceSubject> subject;
  for (const auto& [name, value] : request.query) {
    fault = fault_of_parameter(name, value, subject, query.minutes);
    if (!fault.empty()) return std::nullopt;
  }
  if (!subject) {
    fault = "?client=, ?topic= or ?address=";
    return std::nullopt;
  }
  query.subject = std::move(*subject);
  return query;
}

}  // namespace millrace::server
