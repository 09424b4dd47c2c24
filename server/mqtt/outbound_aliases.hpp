// OutboundAliases: the topic aliases that the server assigned towards one MQTT 5 client.
//
// First come, first served, and never reassigned, so that the aliases that a packet introduced can
// be taken back when that packet was not sent after all. Publishers choose the topics, so their
// names may take only so many bytes together. Source: MQTT 5.0, 3.3.2.3.4.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/broker/topic_hash.hpp"

#include "protocol/publish.hpp"

namespace millrace::server {

class OutboundAliases {
 public:
  explicit OutboundAliases(std::uint16_t count_max) : count_max_(count_max) {}

  // 0: none. An alias that is `fresh` must be sent together with the topic.
  struct Use {
    std::uint16_t alias = 0;
    bool fresh = false;
  };
  Use use(std::string_view topic);

  std::uint32_t count() const { return static_cast<std::uint32_t>(topics_.size()); }
  // Forgets all but the first `count` that were assigned.
  void take_back(std::uint32_t count);

 private:
  static constexpr std::size_t name_bytes_max = 64 * 1024;

  const std::uint16_t count_max_;
  std::size_t name_bytes_ = 0;
  // Views into topics_.
  std::unordered_map<std::string_view, std::uint16_t, broker::TopicHash> aliases_;
  std::vector<std::unique_ptr<std::string>> topics_;  // in the order of assignment
};

inline OutboundAliases::Use OutboundAliases::use(std::string_view topic) {
  if (const auto found = aliases_.find(topic); found != aliases_.end()) {
    return {found->second, false};
  }
  if (topics_.size() == count_max_ || name_bytes_ + topic.size() > name_bytes_max) return {};
  name_bytes_ += topic.size();
  topics_.push_back(std::make_unique<std::string>(topic));
  const auto alias = static_cast<std::uint16_t>(topics_.size());
  aliases_.emplace(*topics_.back(), alias);
  return {alias, true};
}

inline void OutboundAliases::take_back(std::uint32_t count) {
  while (topics_.size() > count) {
    aliases_.erase(*topics_.back());
    name_bytes_ -= topics_.back()->size();
    topics_.pop_back();
  }
}

}  // namespace millrace::server
