// Every metric that the server has, without a server: what README's table is made from.
#pragma once

#include <string>

namespace millrace::server {

std::string all_metrics_markdown();

}  // namespace millrace::server
