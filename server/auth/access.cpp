#include "server/auth/access.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

namespace millrace::server {

namespace {

// The reason that a rule gives to whom it refuses.
protocol::ReasonCode reason_code(RefusalReason reason) {
  return reason == RefusalReason::unspecified ? protocol::ReasonCode::UnspecifiedError
                                              : protocol::ReasonCode::NotAuthorized;
}

// Of all rules, those about this user's publishing or subscribing, in order.
broker::TopicRules rules_of(const AccessConfig& config, const std::string& user,
                            AccessAction action) {
  std::vector<broker::TopicRule> rules;
  for (const AccessRule& rule : config.rules) {
    if (rule.user && *rule.user != user) continue;
    if (rule.action != AccessAction::all && rule.action != action) continue;
    rules.push_back({rule.effect == AccessEffect::allow, rule.filter, reason_code(rule.reason)});
  }
  return {std::move(rules), config.unmatched() == AccessEffect::allow};
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

Grants::Grants(std::string user, const AccessConfig& config)
    : user_(std::move(user)),
      publish_(rules_of(config, user_, AccessAction::publish)),
      subscribe_(std::make_shared<const broker::TopicRules>(
          rules_of(config, user_, AccessAction::subscribe))),
      publish_is_open_(publish_.allow_all()) {}

protocol::Result<Grants::ReadRules> Grants::subscription(std::string_view filter) const {
  const auto extent = subscribe_->extent(filter);
  if (!extent) return extent.error();
  return *extent == broker::TopicRules::Extent::part ? subscribe_ : nullptr;
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

protocol::Result<std::shared_ptr<const Grants>> Access::grants_of_certified(
    std::string_view user) const {
  if (user.empty()) return protocol::ReasonCode::NotAuthorized;
  return grants_of(user);
}

std::shared_ptr<const Grants> Access::grants_of(std::string_view user) const {
  const std::lock_guard lock(mutex_);
  const auto found = grants_.find(user);
  if (found != grants_.end()) return found->second;
  const std::string name(user);
  return grants_.emplace(name, std::make_shared<const Grants>(name, config_)).first->second;
}

}  // namespace millrace::server
