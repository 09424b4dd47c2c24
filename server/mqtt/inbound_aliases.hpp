// InboundAliases: the topic aliases that one peer assigned in what it publishes here.
// Source: MQTT 5.0, 3.3.2.3.4.
//
// Threads: the connection's I/O thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "protocol/publish.hpp"
#include "protocol/reason_code.hpp"

namespace millrace::server {

class InboundAliases {
 public:
  // After this the topic of `view`, which has an alias, is spelled out; else why it cannot be.
  // `alias_max`: what the peer was told. [MQTT-3.3.2-8] to [MQTT-3.3.2-12]
  std::optional<protocol::ReasonCode> resolve(protocol::PublishView& view, std::uint32_t alias_max);

  // Of all names.
  std::uint64_t bytes() const { return bytes_; }

 private:
  std::vector<std::string> names_;  // by topic alias - 1
  std::uint64_t bytes_ = 0;
};

inline std::optional<protocol::ReasonCode> InboundAliases::resolve(protocol::PublishView& view,
                                                                   std::uint32_t alias_max) {
  if (view.topic_alias > alias_max) return protocol::ReasonCode::topic_alias_invalid;
  const std::size_t at = view.topic_alias - 1u;
  if (!view.topic.empty()) {
    if (names_.size() <= at) names_.resize(at + 1);
    std::string& name = names_[at];
    bytes_ += view.topic.size() - name.size();
    std::string(view.topic).swap(name);  // with no more room than it needs
    return std::nullopt;
  }
  if (names_.size() <= at || names_[at].empty()) return protocol::ReasonCode::protocol_error;
  view.topic = names_[at];
  return std::nullopt;
}

}  // namespace millrace::server
