// Whether a message may cross a link, by the rules and by how many links it has crossed; for links of
// every kind.
//
// Threads: any; pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "core/broker/message.hpp"
#include "server/upstream/plan.hpp"
#include "server/upstream/stats.hpp"

namespace millrace::server {

// Of what came. `rule`: the one that covers it there, or null; `topic`: what it is called here.
std::optional<LinkRefusal> refusal_in(const UpstreamPlan& plan, const TopicMap::Rule* rule,
                                      std::string_view topic,
                                      std::span<const std::uint8_t> properties,
                                      std::uint32_t levels_max);

// Of what is to leave. `counts_hops`: the other side knows user properties.
std::optional<LinkRefusal> refusal_out(const UpstreamPlan& plan, const broker::Message& message,
                                       bool counts_hops);

}  // namespace millrace::server
