// How the management API answers, but for problems (server/http/problem.hpp). Pure; any thread.
#pragma once

#include <nlohmann/json.hpp>

#include "server/http/server.hpp"

namespace millrace::server {

void answer_json(HttpExchange& exchange, const nlohmann::ordered_json& json, unsigned status = 200);
void answer_nothing(HttpExchange& exchange);
// False: the request has parameters, and was answered that there are none.
bool check_no_parameters(HttpExchange& exchange);

}  // namespace millrace::server
