// UpstreamPlan: everything that is known about an upstream before it is spoken to: its configuration,
// and what follows from it and the files that it names. Immutable; a reload makes a new one.
//
// Threads: any.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/auth/settings.hpp"
#include "server/config/upstream_address.hpp"
#include "server/upstream/topic_map.hpp"

namespace millrace::server {

struct UpstreamPlan {
  UpstreamConfig config;
  std::vector<UpstreamAddress> addresses;
  std::string client_id;
  std::optional<std::string> password;
  std::shared_ptr<boost::asio::ssl::context> tls;  // null: no address uses it
  TopicMap map;
  std::string session;       // its name in the processor, which no client can have
  std::uint16_t origin = 0;  // see broker::ConnectRequest
};
using UpstreamPlanRef = std::shared_ptr<const UpstreamPlan>;

// `origin`: of this upstream alone, and the same after a reload.
UpstreamPlanRef make_upstream_plan(const UpstreamConfig& config, const UpstreamFiles& files,
                                   std::uint16_t origin);

// Whether a link by one plan is as good as one by the other: then it need not end.
inline bool same_link(const UpstreamPlan& one, const UpstreamPlan& other) {
  return one.config == other.config && one.password == other.password;
}

}  // namespace millrace::server
