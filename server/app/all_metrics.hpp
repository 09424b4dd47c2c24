// Every metric that the server has, without a server: the table in docs/metrics.md is made from it.
#pragma once

#include <string>

namespace millrace::server {

std::string all_metrics_markdown();

}  // namespace millrace::server
