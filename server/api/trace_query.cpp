#include "server/api/trace_query.hpp"

#include <utility>

#include "server/http/target.hpp"

namespace millrace::server {

namespace {

using Kind = TraceSubject::Kind;

std::string fault_of_parameter(const std::string& name, const std::string& value,
                               std::optional<TraceSubject>& subject, TraceQuery& query) {
  if (name == "minutes") {
    const auto number = parse_number<std::uint32_t>(value);
    const bool fits = number && *number > 0 && *number <= Traces::time_max.count();
    if (fits) query.minutes = *number;
    return fits ? "" : "minutes: 1 to " + std::to_string(Traces::time_max.count());
  }
  if (name == "user") {
    query.subject.user = value;
    return "";
  }
  for (const Kind kind : {Kind::client, Kind::topic, Kind::address}) {
    if (name != word_of(kind)) continue;
    if (subject) return "one of client, topic and address";
    subject = TraceSubject{kind, value};
    return Traces::fault_of(*subject);
  }
  return "unknown parameter: " + name + " (there are client, user, topic, address, minutes)";
}

}  // namespace

std::optional<TraceQuery> parse_trace_query(const HttpRequest& request, std::string& fault) {
  TraceQuery query;
  std::optional<TraceSubject> subject;
  for (const auto& [name, value] : request.query) {
    fault = fault_of_parameter(name, value, subject, query);
    if (!fault.empty()) return std::nullopt;
  }
  if (!subject) {
    fault = "?client=, ?topic= or ?address=";
    return std::nullopt;
  }
  subject->user = std::move(query.subject.user);
  fault = Traces::fault_of(*subject);
  if (!fault.empty()) return std::nullopt;
  query.subject = std::move(*subject);
  return query;
}

}  // namespace millrace::server
