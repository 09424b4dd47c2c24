// TopicMap: the rules of one upstream: which topic crosses the link, and what it is called on the
// other side.
//
// Threads: constant once made; any.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/config/config.hpp"

namespace millrace::server {

class TopicMap {
 public:
  struct Rule {
    UpstreamRule config;
    std::string local_filter;
    std::string remote_filter;

    bool renames() const { return config.local_prefix != config.remote_prefix; }
  };

  TopicMap() = default;
  // Valid rules: at most one of them covers a topic in one direction.
  explicit TopicMap(const std::vector<UpstreamRule>& rules);

  const std::vector<Rule>& rules() const { return rules_; }

  // The rule by which a message with this topic leaves, or comes in; null: none.
  const Rule* outbound(std::string_view local_topic) const;
  const Rule* inbound(std::string_view remote_topic) const;

  // What the topic, which the rule covers, is called on the other side; empty: it has no name there,
  // or one that is too long.
  static std::string to_remote(const Rule& rule, std::string_view local_topic);
  static std::string to_local(const Rule& rule, std::string_view remote_topic);

  // How many bytes longer a name may be there than here.
  std::uint32_t longer_by_max() const;

 private:
  std::vector<Rule> rules_;
};

}  // namespace millrace::server
