#include "server/upstream/plan.hpp"

#include <unistd.h>

#include <algorithm>

#include "server/config/session_name.hpp"

namespace millrace::server {

namespace {

std::string machine_name() {
  char name[256] = "";
  if (::gethostname(name, sizeof name - 1) != 0 || name[0] == '\0') return "millrace";
  return name;
}

}  // namespace

UpstreamPlanRef make_upstream_plan(const UpstreamConfig& config, const UpstreamFiles& files,
                                   std::uint16_t origin) {
  auto plan = std::make_shared<UpstreamPlan>();
  plan->config = config;
  if (config.type == UpstreamType::nats) {
    // NATS acknowledges what goes to a stream, and nothing is delivered there exactly once.
    for (UpstreamRule& rule : plan->config.rules) {
      rule.qos_max = std::min(rule.qos_max, rule.jetstream ? 1u : 0u);
    }
  }
  for (const std::string& text : config.addresses) {
    std::string fault;
    if (auto address = parse_upstream_address(text, fault)) plan->addresses.push_back(*address);
  }
  plan->client_id =
      config.client_id.empty() ? machine_name() + "." + config.name : config.client_id;
  plan->password = files.password;
  plan->tls = files.tls.context;
  plan->map = TopicMap(plan->config.rules);
  plan->session = name_of_link("upstream/" + config.name);
  plan->origin = origin;
  return plan;
}

}  // namespace millrace::server
