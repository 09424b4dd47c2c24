#include "server/upstream/topic_map.hpp"

#include <algorithm>

#include "protocol/topic.hpp"

namespace millrace::server {

namespace {

std::string renamed(std::string_view topic, std::string_view from, std::string_view to) {
  std::string name;
  if (topic.starts_with(from)) {
    name.append(to).append(topic.substr(from.size()));
  } else {
    // `a/#` covers `a` too, which lacks the prefix's last `/`.
    name = to.ends_with('/') ? to.substr(0, to.size() - 1) : to;
  }
  return protocol::valid_topic_name(name) ? name : std::string();
}

}  // namespace

TopicMap::TopicMap(const std::vector<UpstreamRule>& rules) {
  for (const UpstreamRule& rule : rules) {
    rules_.push_back({rule, rule.local_prefix + rule.filter, rule.remote_prefix + rule.filter});
  }
}

const TopicMap::Rule* TopicMap::outbound(std::string_view local_topic) const {
  for (const Rule& rule : rules_) {
    if (rule.config.goes_out() && protocol::matches(rule.local_filter, local_topic)) return &rule;
  }
  return nullptr;
}

const TopicMap::Rule* TopicMap::inbound(std::string_view remote_topic) const {
  for (const Rule& rule : rules_) {
    if (rule.config.comes_in() && protocol::matches(rule.remote_filter, remote_topic)) return &rule;
  }
  return nullptr;
}

std::string TopicMap::to_remote(const Rule& rule, std::string_view local_topic) {
  return renamed(local_topic, rule.config.local_prefix, rule.config.remote_prefix);
}

std::string TopicMap::to_local(const Rule& rule, std::string_view remote_topic) {
  return renamed(remote_topic, rule.config.remote_prefix, rule.config.local_prefix);
}

std::uint32_t TopicMap::longer_by_max() const {
  std::size_t most = 0;
  for (const Rule& rule : rules_) most = std::max(most, rule.config.remote_prefix.size());
  return static_cast<std::uint32_t>(most);
}

}  // namespace millrace::server
