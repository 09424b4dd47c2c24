#include "server/http/refusal.hpp"

#include <utility>

namespace millrace::server {

HttpResponse refusal(unsigned status, std::string why) {
  HttpResponse response;
  response.status = status;
  response.body = std::move(why) + "\n";
  return response;
}

HttpResponse unauthorized(std::string why) {
  HttpResponse response = refusal(401, std::move(why));
  response.headers.emplace_back("WWW-Authenticate", "Basic realm=\"millrace\", charset=\"UTF-8\"");
  return response;
}

HttpResponse busy(std::string why) {
  HttpResponse response = refusal(503, std::move(why));
  response.headers.emplace_back("Retry-After", "1");
  return response;
}

}  // namespace millrace::server
