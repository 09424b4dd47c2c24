// Users of a World: who there is, and what each may not read or publish.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/broker/rights.hpp"

namespace millrace::broker {

struct User {
  std::vector<TopicRule> read = {};  // what no rule matches is allowed
  std::vector<TopicRule> publish = {};
  std::vector<TopicRule> receive = {};
};

inline TopicRule deny(std::string filter) {
  return {false, std::move(filter)};
}
inline TopicRule allow(std::string filter) {
  return {true, std::move(filter)};
}

// Each is newer than the one before.
class Users final : public Authority {
 public:
  explicit Users(std::map<std::string, User> users) : users_(std::move(users)) {}

  RightsRef rights_of(const std::string& owner) const {
    const auto found = users_.find(owner);
    if (found == users_.end()) return nullptr;
    boost::intrusive_ptr<Rights> rights(new Rights);
    rights->owner = owner;
    rights->revision = revision_;
    rights->publish = std::make_shared<const TopicRules>(found->second.publish, true);
    rights->subscribe = std::make_shared<const TopicRules>(found->second.read, true);
    if (!found->second.receive.empty()) {
      rights->receive = std::make_shared<const TopicRules>(found->second.receive, true);
    }
    rights->set_read();
    return rights;
  }

  std::uint64_t revision() const override { return revision_; }
  RightsRef renew(const Rights& rights, const Arrival&) const override {
    return rights_of(rights.owner);
  }

 private:
  inline static std::uint64_t last_revision_ = 0;
  const std::uint64_t revision_ = ++last_revision_;
  const std::map<std::string, User> users_;
};

}  // namespace millrace::broker
