#include "server/http/cross_origin.hpp"

#include <algorithm>
#include <boost/beast/core/string.hpp>
#include <string_view>

namespace millrace::server {

namespace {

bool is_allowed(std::string_view origin, const std::vector<std::string>& allowed) {
  return !origin.empty() && std::any_of(allowed.begin(), allowed.end(), [&](const auto& one) {
    return one == "*" || boost::beast::iequals(one, origin);
  });
}

}  // namespace

void allow_origin(HttpExchange& exchange, const std::vector<std::string>& allowed) {
  if (allowed.empty()) return;
  exchange.add_header("Vary", "Origin");  // a cache must not give one page what another was told
  const std::string origin(exchange.request().header("origin"));
  if (!is_allowed(origin, allowed)) return;
  exchange.add_header("Access-Control-Allow-Origin", origin);
  exchange.add_header("Access-Control-Expose-Headers", "*, ETag");
}

void answer_preflight(HttpExchange& exchange, const std::vector<std::string>& allowed) {
  allow_origin(exchange, allowed);
  HttpResponse response;
  response.status = 204;
  if (is_allowed(exchange.request().header("origin"), allowed)) {
    response.headers = {
        {"Access-Control-Allow-Methods", "GET, HEAD"},
        {"Access-Control-Allow-Headers", "Authorization, If-None-Match, Last-Event-ID, Prefer"},
        {"Access-Control-Max-Age", "600"}};
  }
  exchange.answer(std::move(response));
}

}  // namespace millrace::server
