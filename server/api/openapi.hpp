// The OpenAPI 3.1 document of the management API, as the build took it from openapi.json. A test
// holds the routes against it (tests/server/api/routes_test.cpp), another one the answers
// (tests/e2e/test_api.py).
#pragma once

#include <string_view>

namespace millrace::server {

extern const std::string_view openapi_document;

}  // namespace millrace::server
