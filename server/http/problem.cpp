#include "server/http/problem.hpp"

#include <boost/beast/http/status.hpp>
#include <nlohmann/json.hpp>
#include <utility>

namespace millrace::server {

HttpResponse problem(unsigned status, std::string_view detail) {
  const auto title = boost::beast::http::obsolete_reason(boost::beast::http::int_to_status(status));
  const nlohmann::ordered_json body = {{"type", "about:blank"},
                                       {"title", std::string(title)},
                                       {"status", status},
                                       {"detail", detail}};
  HttpResponse response;
  response.status = status;
  response.content_type = "application/problem+json";
  response.body = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  response.headers.emplace_back("Cache-Control", "no-store");
  return response;
}

HttpResponse problem_of(HttpResponse refusal) {
  std::string detail = std::move(refusal.body);
  if (detail.ends_with('\n')) detail.pop_back();
  HttpResponse response = problem(refusal.status, detail);
  for (auto& header : refusal.headers) response.headers.push_back(std::move(header));
  return response;
}

HttpResponse refusal_at(std::string_view path, HttpResponse refusal) {
  return path.starts_with("/api/") ? problem_of(std::move(refusal)) : std::move(refusal);
}

}  // namespace millrace::server
