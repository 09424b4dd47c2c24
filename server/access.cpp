#include "server/access.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "protocol/topic.hpp"

namespace millrace::server {

namespace {

bool concerns(const AccessRule& rule, const std::string& user) {
  return !rule.user || *rule.user == user;
}

// An empty File for no path.
template <class File>
File read_users(const std::string& path, const char* key, std::vector<ConfigFault>& faults) {
  if (path.empty()) return {};
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  if (!stream.is_open() || stream.bad()) {
    faults.push_back({key, "cannot read \"" + path + "\": " + std::strerror(errno), ""});
    return {};
  }
  std::vector<std::string> complaints;
  File file = File::parse(text.str(), complaints);
  for (std::string& complaint : complaints) faults.push_back({key, std::move(complaint), ""});
  return file;
}

}  // namespace

Grants::Grants(std::string user, const AccessConfig& config) : user_(std::move(user)) {
  otherwise_allow_ = config.rules.empty() || config.otherwise == AccessEffect::allow;
  for (const AccessRule& rule : config.rules) {
    if (!concerns(rule, user_)) continue;
    const Rule mine{rule.effect == AccessEffect::allow, rule.filter};
    if (rule.action != AccessAction::subscribe) publish_rules_.push_back(mine);
    if (rule.action != AccessAction::publish) subscribe_rules_.push_back(mine);
  }
  publish_is_open_ = otherwise_allow_ && publish_rules_.empty();
  subscribe_is_open_ = otherwise_allow_ && subscribe_rules_.empty();
}

bool Grants::publish_by_rules(std::string_view topic) const {
  for (const Rule& rule : publish_rules_) {
    if (protocol::matches(rule.filter, topic)) return rule.allow;
  }
  return otherwise_allow_;
}

bool Grants::subscribe_by_rules(std::string_view filter) const {
  for (const Rule& rule : subscribe_rules_) {
    const bool decides = rule.allow ? protocol::covers(rule.filter, filter)
                                    : protocol::overlaps(rule.filter, filter);
    if (decides) return rule.allow;
  }
  return otherwise_allow_;
}

Access::Access(const AccessConfig& config, PasswordFile passwords, ScramFile scram)
    : config_(config), passwords_(std::move(passwords)), scram_(std::move(scram)) {}

std::shared_ptr<const Access> Access::make(const AccessConfig& config,
                                           std::vector<ConfigFault>& faults) {
  const std::size_t before = faults.size();
  auto passwords = read_users<PasswordFile>(config.password_file, "access.password_file", faults);
  auto scram = read_users<ScramFile>(config.scram_file, "access.scram_file", faults);
  if (faults.size() > before) return nullptr;
  return std::shared_ptr<const Access>(new Access(config, std::move(passwords), std::move(scram)));
}

protocol::Result<std::shared_ptr<const Grants>> Access::authenticate(
    std::optional<std::string_view> user_name, std::optional<std::string_view> password) const {
  const bool verifies = !config_.password_file.empty();
  if (user_name && verifies) {
    if (!passwords_.verify(*user_name, password.value_or(""))) {
      return protocol::ReasonCode::BadUserNameOrPassword;
    }
    return grants_of(*user_name);
  }
  if (!config_.anonymous_allowed()) return protocol::ReasonCode::NotAuthorized;
  return grants_of("");
}

std::shared_ptr<const Grants> Access::grants_of(std::string_view user) const {
  const std::lock_guard lock(mutex_);
  const auto found = grants_.find(user);
  if (found != grants_.end()) return found->second;
  const std::string name(user);
  return grants_.emplace(name, std::make_shared<const Grants>(name, config_)).first->second;
}

}  // namespace millrace::server
