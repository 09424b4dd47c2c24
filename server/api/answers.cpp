#include "server/api/answers.hpp"

#include <utility>

#include "server/http/problem.hpp"

namespace millrace::server {

void answer_json(HttpExchange& exchange, const nlohmann::ordered_json& json, unsigned status) {
  HttpResponse response;
  response.status = status;
  response.content_type = "application/json";
  response.body = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  response.headers.emplace_back("Cache-Control", "no-store");
  exchange.answer(std::move(response));
}

void answer_nothing(HttpExchange& exchange) {
  HttpResponse response;
  response.status = 204;
  response.headers.emplace_back("Cache-Control", "no-store");
  exchange.answer(std::move(response));
}

bool check_no_parameters(HttpExchange& exchange) {
  if (exchange.request().query.empty()) return true;
  exchange.answer(problem(400, "it takes no parameters"));
  return false;
}

}  // namespace millrace::server
