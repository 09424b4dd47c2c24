// PUT and POST /api/v1/topics/NAME: the body is the payload, the query says how it is published.
// Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/broker/message.hpp"
#include "protocol/properties.hpp"
#include "server/http/server.hpp"

namespace millrace::server {

struct PublishQuery {
  std::uint8_t qos = 0;
  bool retain = false;
  protocol::Properties properties;
};
// `retain`: unless the query says otherwise. If it makes no sense, `fault` says why.
std::optional<PublishQuery> parse_publish_query(const HttpRequest& request, bool retain,
                                                std::string& fault);
// To the topic that the rest of the path names.
broker::Message make_message(const HttpRequest& request, const PublishQuery& query);

}  // namespace millrace::server
