#include "server/console/console.hpp"

#include <string>

namespace millrace::server {

namespace {

constexpr std::string_view content_security_policy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

// Every browser does.
bool takes_gzip(const HttpRequest& request) {
  return request.header("accept-encoding").find("gzip") != std::string_view::npos;
}

HttpResponse response_of(const ConsoleFile& file) {
  HttpResponse response;
  response.content_type = file.content_type;
  response.body.assign(reinterpret_cast<const char*>(file.gzip.data()), file.gzip.size());
  auto& headers = response.headers;
  headers.emplace_back("Content-Encoding", "gzip");
  headers.emplace_back("Vary", "Accept-Encoding");
  // Only below /assets/ the name of a file changes with what is in it.
  headers.emplace_back("Cache-Control", file.path.starts_with("/assets/")
                                            ? "public, max-age=31536000, immutable"
                                            : "no-cache");
  headers.emplace_back("Content-Security-Policy", content_security_policy);
  headers.emplace_back("Referrer-Policy", "no-referrer");
  return response;
}

}  // namespace

void add_console_routes(HttpServer& http) {
  for (const ConsoleFile& file : console_files()) {
    http.route("GET", std::string(file.path), "", [&http, file](HttpExchange::Ptr exchange) {
      if (takes_gzip(exchange->request())) return exchange->answer(response_of(file));
      if (file.path == "/") {
        return exchange->answer(200, "text/html; charset=utf-8", http.start_page(*exchange));
      }
      exchange->answer(406, "text/plain; charset=utf-8", "only gzip-encoded\n");
    });
  }
}

}  // namespace millrace::server
