#include "server/auth/access.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>

namespace millrace::server {

namespace {

// The reason that a rule gives to whom it refuses.
protocol::ReasonCode reason_code(RefusalReason reason) {
  return reason == RefusalReason::unspecified ? protocol::ReasonCode::unspecified_error
                                              : protocol::ReasonCode::not_authorized;
}

broker::RightsRef rights_of(std::string user, std::string_view credential, std::uint64_t revision,
                            const UserRules& rules) {
  boost::intrusive_ptr<broker::Rights> rights(new broker::Rights);
  rights->publish = rules.publish(user);
  rights->subscribe = rules.subscribe(user);
  rights->owner = std::move(user);
  rights->credential = credential;
  rights->revision = revision;
  return rights;
}

// --- What a user was verified by, as broker::Rights::credential has it ---

constexpr std::string_view trusted;  // by nothing: the anonymous, and local processes
constexpr std::string_view by_certificate = "certificate";
constexpr std::string_view by_password = "password ";  // and the line of the file
constexpr std::string_view by_scram = "scram ";        // and the line of the file

std::string credential_of(const PasswordHash& hash) {
  return std::string(by_password) + hash.to_string();
}
std::string credential_of(const ScramKeys& keys) {
  return std::string(by_scram) + keys.to_string();
}

std::uint64_t next_revision() {
  static std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
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

// --- Rules ---------------------------------------------------------------------------------------

Grants::Grants(std::string user, const AccessConfig& config)
    : Grants(rights_of(std::move(user), trusted, 0, UserRules(config))) {}

UserRules::UserRules(const AccessConfig& config)
    : rules_(config.rules), otherwise_allow_(config.unmatched() == AccessEffect::allow) {
  for (std::uint32_t number = 0; number < rules_.size(); ++number) {
    const AccessRule& rule = rules_[number];
    (rule.user ? of_user_[*rule.user] : of_everybody_).push_back(number);
  }
  publish_of_everybody_ = make(of_everybody_, AccessAction::publish);
  subscribe_of_everybody_ = make(of_everybody_, AccessAction::subscribe);
}

UserRules::RulesRef UserRules::of(const std::string& user, AccessAction action) const {
  const auto own = of_user_.find(user);
  if (own == of_user_.end()) {
    return action == AccessAction::publish ? publish_of_everybody_ : subscribe_of_everybody_;
  }
  Numbers all;
  std::merge(own->second.begin(), own->second.end(), of_everybody_.begin(), of_everybody_.end(),
             std::back_inserter(all));
  return make(all, action);
}

UserRules::RulesRef UserRules::make(const Numbers& numbers, AccessAction action) const {
  std::vector<broker::TopicRule> rules;
  for (const std::uint32_t number : numbers) {
    const AccessRule& rule = rules_[number];
    if (rule.action != AccessAction::all && rule.action != action) continue;
    rules.push_back({rule.effect == AccessEffect::allow, rule.filter, reason_code(rule.reason)});
  }
  if (rules.empty() && otherwise_allow_) return nullptr;
  return std::make_shared<const broker::TopicRules>(std::move(rules), otherwise_allow_);
}

// --- Users ---------------------------------------------------------------------------------------

Access::Access(const AccessConfig& config, PasswordFile passwords, ScramFile scram)
    : revision_(next_revision()),
      config_(config),
      passwords_(std::move(passwords)),
      scram_(std::move(scram)),
      rules_(config) {}

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
      return protocol::ReasonCode::bad_user_name_or_password;
    }
    return grants_of(*user_name, server::credential_of(*passwords_.find(*user_name)));
  }
  if (!config_.anonymous_allowed()) return protocol::ReasonCode::not_authorized;
  return grants_of("");
}

protocol::Result<std::shared_ptr<const Grants>> Access::grants_of_certified(
    std::string_view user) const {
  if (user.empty()) return protocol::ReasonCode::not_authorized;
  return grants_of(user, by_certificate);
}

protocol::Result<std::shared_ptr<const Grants>> Access::grants_of_scram(
    std::string_view user, const ScramKeys& keys) const {
  const ScramKeys* const now = scram_.find(user);
  const std::string credential = server::credential_of(keys);
  if (now == nullptr || server::credential_of(*now) != credential) {
    return protocol::ReasonCode::not_authorized;
  }
  return grants_of(user, credential);
}

std::shared_ptr<const Grants> Access::grants_of(std::string_view user) const {
  return grants_of(user, trusted);
}

std::shared_ptr<const Grants> Access::grants_of(std::string_view user,
                                                std::string_view credential) const {
  std::string key(user);
  key.push_back('\0');
  key.append(credential);
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = grants_.find(key); found != grants_.end()) return found->second;
  }
  auto grants =
      std::make_shared<const Grants>(rights_of(std::string(user), credential, revision_, rules_));
  const std::lock_guard lock(mutex_);
  return grants_.emplace(std::move(key), std::move(grants)).first->second;
}

// --- Reload --------------------------------------------------------------------------------------

std::shared_ptr<const Grants> Access::readmit(const Grants& grants) const {
  const broker::Rights& rights = *grants.rights();
  const auto credential = credential_of(rights);
  if (!credential || *credential != rights.credential) return nullptr;
  return grants_of(rights.owner, *credential);
}

broker::RightsRef Access::renew(const broker::Rights& rights) const {
  const auto credential = credential_of(rights);
  return credential ? grants_of(rights.owner, *credential)->rights() : nullptr;
}

// What the user would be verified by now, in the same way as then; nothing: would not be.
std::optional<std::string> Access::credential_of(const broker::Rights& rights) const {
  const std::string_view before = rights.credential;
  if (before.starts_with(by_password)) {
    if (const PasswordHash* hash = passwords_.find(rights.owner)) {
      return server::credential_of(*hash);
    }
    return std::nullopt;
  }
  if (before.starts_with(by_scram)) {
    if (const ScramKeys* keys = scram_.find(rights.owner)) return server::credential_of(*keys);
    return std::nullopt;
  }
  const bool anonymous = rights.owner.empty();
  if (anonymous && !config_.anonymous_allowed()) return std::nullopt;
  return rights.credential;
}

}  // namespace millrace::server
