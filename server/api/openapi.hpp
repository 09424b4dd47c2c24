// The OpenAPI 3.1 document of the management API, as the build took it from openapi.json. A test
// holds every route and its answers against it.
#pragma once

#include <string_view>

namespace millrace::server {

extern const std::string_view openapi_document;

}  // namespace millrace::server
