#include "server/auth/access.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <fstream>
#include <sstream>

#include "server/auth/crypto.hpp"
#include "server/observe/log.hpp"

namespace millrace::server {

namespace {

using broker::Arrival;

using RulesRef = UserRules::RulesRef;

// What both permit; null: everything.
RulesRef both(RulesRef one, RulesRef other) {
  if (!one) return other;
  if (!other) return one;
  return std::make_shared<const broker::TopicRules>(
      std::vector<broker::TopicRule>{}, true,
      broker::TopicRules::Others{std::move(one), std::move(other)});
}

boost::intrusive_ptr<broker::Rights> rights_of(std::string user, std::string_view credential,
                                               std::uint64_t revision, UserRules::Lists lists) {
  boost::intrusive_ptr<broker::Rights> rights(new broker::Rights);
  rights->publish = std::move(lists.publish);
  rights->subscribe = std::move(lists.subscribe);
  rights->receive = std::move(lists.receive);
  rights->set_read();
  rights->owner = std::move(user);
  rights->credential = credential;
  rights->revision = revision;
  return rights;
}

// --- What a user was verified by, as broker::Rights::credential has it ---
//
// A session's stands on the disk where sessions are durable, so there is nothing in it that could
// be tried out against guesses.

constexpr std::string_view trusted;  // by nothing: the anonymous, and local processes
constexpr std::string_view by_certificate = "certificate";
constexpr std::string_view by_password = "password ";  // and a hash of the line of the file
constexpr std::string_view by_scram = "scram ";        // and a hash of the line of the file
constexpr std::string_view by_token = "token ";        // JwtClaims::key, a space, JwtClaims::rules
constexpr std::string_view hook_key = "access.http";   // in the key's place: the hook's word
constexpr std::string_view lost_key = "-";             // in its place: of a key that is gone

std::string credential_of(const PasswordHash& hash) {
  return std::string(by_password) + to_base64url(digest(Digest::sha256, hash.to_string()));
}
std::string credential_of(const ScramKeys& keys) {
  return std::string(by_scram) + to_base64url(digest(Digest::sha256, keys.to_string()));
}

struct TokenCredential {
  std::string_view key, rules;

  static TokenCredential of(std::string_view credential) {
    credential.remove_prefix(by_token.size());
    const auto space = std::min(credential.find(' '), credential.size());
    return {credential.substr(0, space), credential.substr(std::min(space + 1, credential.size()))};
  }
  static std::string text(std::string_view key, std::string_view rules) {
    return std::string(by_token).append(key).append(1, ' ').append(rules);
  }
};

// The rules that the owner's token brought. Those of a session that was read from the disk stand in
// its credential alone.
std::shared_ptr<const broker::CarriedRules> carried_by(const broker::Rights& rights) {
  if (rights.carried || !std::string_view(rights.credential).starts_with(by_token)) {
    return rights.carried;
  }
  const auto rules = TokenCredential::of(rights.credential).rules;
  if (rules.empty()) return nullptr;
  auto carried = parse_carried_rules(rules);
  return carried ? carried : parse_carried_rules("{}");  // not readable: nothing is permitted
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

struct AccessFiles {
  PasswordFile passwords;
  ScramFile scram;
  std::shared_ptr<const JwtVerifier> jwt;
  HttpTokens http_tokens;
};

AccessFiles read_files(const AccessConfig& config, std::vector<ConfigFault>& faults) {
  AccessFiles files;
  files.passwords = read_users<PasswordFile>(config.password_file, "access.password_file", faults);
  files.scram = read_users<ScramFile>(config.scram_file, "access.scram_file", faults);
  files.jwt = JwtVerifier::make(config.jwt, faults);
  files.http_tokens = HttpTokens::read(config.http_tokens, faults);
  return files;
}

}  // namespace

Grants::Grants(std::string user, const AccessConfig& config, const broker::Arrival& arrival)
    : Grants(rights_of(user, trusted, 0, UserRules(config, {}).of(user, arrival))) {}

// --- Users ---------------------------------------------------------------------------------------

Access::Access(const AccessConfig& config, const std::vector<std::string>& listeners,
               PasswordFile passwords, ScramFile scram, std::shared_ptr<const JwtVerifier> jwt,
               HttpTokens http_tokens)
    : revision_(next_revision()),
      config_(config),
      passwords_(std::move(passwords)),
      scram_(std::move(scram)),
      jwt_(std::move(jwt)),
      http_tokens_(std::move(http_tokens)),
      rules_(config, listeners) {}

std::shared_ptr<const Access> Access::make(const AccessConfig& config,
                                           std::vector<ConfigFault>& faults,
                                           const std::vector<std::string>& listeners) {
  const std::size_t before = faults.size();
  AccessFiles files = read_files(config, faults);
  if (faults.size() > before) return nullptr;
  return std::shared_ptr<const Access>(new Access(config, listeners, std::move(files.passwords),
                                                  std::move(files.scram), std::move(files.jwt),
                                                  std::move(files.http_tokens)));
}

void Access::add_faults_of_files(const AccessConfig& config, std::vector<ConfigFault>& faults) {
  read_files(config, faults);
}

protocol::Result<std::shared_ptr<const Grants>> Access::authenticate(
    std::optional<std::string_view> user_name, std::optional<std::string_view> password,
    const Arrival& arrival) const {
  if (jwt_ && password && JwtVerifier::looks_like_token(*password)) {
    return authenticate_token(*password, arrival);
  }
  const bool verifies = user_name && !config_.password_file.empty();
  // Whoever sends a password that nothing here can verify is refused, and not taken for anonymous.
  if (jwt_ && password && !verifies) return protocol::ReasonCode::bad_user_name_or_password;
  if (verifies) {
    if (!passwords_.verify(*user_name, password.value_or(""))) {
      return protocol::ReasonCode::bad_user_name_or_password;
    }
    return grants_of(*user_name, server::credential_of(*passwords_.find(*user_name)), arrival);
  }
  if (!config_.anonymous_allowed()) return protocol::ReasonCode::not_authorized;
  return grants_of("", arrival);
}

std::string Access::name_to_prove(std::optional<std::string_view> user_name,
                                  std::optional<std::string_view> password) const {
  const bool is_token = jwt_ && password && JwtVerifier::looks_like_token(*password);
  return std::string(is_token ? std::string_view() : user_name.value_or(""));
}

protocol::Result<std::shared_ptr<const Grants>> Access::authenticate_token(
    std::string_view token, const Arrival& arrival) const {
  const char* fault = "no tokens are taken";
  auto claims = jwt_ ? jwt_->verify(token, std::time(nullptr), fault) : std::nullopt;
  if (!claims) {
    const auto verdict =
        peer_log_limiter().ask(std::string(arrival.address) + " token " + std::string(fault));
    log(LogLevel::warn, "token.refused",
        {{"reason", fault}, {"peer", arrival.address}, {"suppressed", verdict.suppressed}},
        !verdict.log);
    return protocol::ReasonCode::bad_user_name_or_password;
  }
  const std::string credential = TokenCredential::text(claims->key, claims->rules);
  return std::make_shared<const Grants>(
      make_rights(claims->user, credential, arrival, claims->carried), claims->expires_at_s);
}

protocol::Result<std::shared_ptr<const Grants>> Access::grants_of_certified(
    std::string_view user, const Arrival& arrival) const {
  if (user.empty()) return protocol::ReasonCode::not_authorized;
  return grants_of(user, by_certificate, arrival);
}

protocol::Result<std::shared_ptr<const Grants>> Access::grants_of_scram(
    std::string_view user, const ScramKeys& keys, const Arrival& arrival) const {
  const ScramKeys* const now = scram_.find(user);
  const std::string credential = server::credential_of(keys);
  if (now == nullptr || server::credential_of(*now) != credential) {
    return protocol::ReasonCode::not_authorized;
  }
  return grants_of(user, credential, arrival);
}

bool Access::asks_hook(std::optional<std::string_view> user_name,
                       std::optional<std::string_view> password) const {
  if (!config_.http.is_set() || !user_name || user_name->empty()) return false;
  if (jwt_ && password && JwtVerifier::looks_like_token(*password)) return false;
  return passwords_.find(*user_name) == nullptr;
}

std::shared_ptr<const Grants> Access::grants_of_hook(std::string_view user, std::string_view rules,
                                                     CarriedRef carried,
                                                     const Arrival& arrival) const {
  const std::string credential = TokenCredential::text(hook_key, rules);
  return std::make_shared<const Grants>(
      make_rights(std::string(user), credential, arrival, std::move(carried)));
}

bool Access::knows_key(std::string_view key) const {
  return key == hook_key ? config_.http.is_set() : jwt_ != nullptr && jwt_->knows(key);
}

bool Access::is_administrator(std::string_view user) const {
  const auto& users = config_.administrators;
  return !user.empty() && std::find(users.begin(), users.end(), user) != users.end();
}

std::shared_ptr<const Grants> Access::grants_of(std::string_view user,
                                                const Arrival& arrival) const {
  return grants_of(user, trusted, arrival);
}

broker::RightsRef Access::make_rights(const std::string& user, std::string_view credential,
                                      const Arrival& arrival, const CarriedRef& carried) const {
  UserRules::Lists lists = rules_.of(user, arrival);
  if (carried) {
    lists.publish = both(carried->publish, std::move(lists.publish));
    lists.subscribe = both(carried->subscribe, std::move(lists.subscribe));
  }
  auto rights = rights_of(user, credential, revision_, std::move(lists));
  rights->carried = carried;
  return rights;
}

std::shared_ptr<const Grants> Access::grants_of(std::string_view user, std::string_view credential,
                                                const Arrival& arrival,
                                                const CarriedRef& carried) const {
  const auto make = [&] {
    return std::make_shared<const Grants>(
        make_rights(std::string(user), credential, arrival, carried));
  };
  // Not kept for users of tokens, whose number is not bounded.
  if (rules_.ask_arrival() || credential.starts_with(by_token)) return make();
  std::string key(user);
  key.push_back('\0');
  key.append(credential);
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = grants_.find(key); found != grants_.end()) return found->second;
  }
  auto grants = make();
  const std::lock_guard lock(mutex_);
  return grants_.emplace(std::move(key), std::move(grants)).first->second;
}

// --- Reload --------------------------------------------------------------------------------------

std::shared_ptr<const Grants> Access::readmit(const Grants& grants, const Arrival& arrival) const {
  const broker::Rights& rights = *grants.rights();
  const auto credential = credential_of(rights);
  if (!credential || *credential != rights.credential) return nullptr;
  if (credential->starts_with(by_token)) {  // which ends when it ends
    return std::make_shared<const Grants>(
        make_rights(rights.owner, *credential, arrival, rights.carried), grants.expires_at_s());
  }
  return grants_of(rights.owner, *credential, arrival);
}

broker::RightsRef Access::renew(const broker::Rights& rights, const Arrival& arrival) const {
  const auto credential = credential_of(rights);
  if (!credential) return nullptr;
  return grants_of(rights.owner, *credential, arrival, carried_by(rights))->rights();
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
  if (before.starts_with(by_token)) {
    if (!jwt_ && !config_.http.is_set()) return std::nullopt;
    // Sessions stay the user's, whatever the key is; by another one a connection did not come.
    const auto token = TokenCredential::of(before);
    return knows_key(token.key) ? rights.credential : TokenCredential::text(lost_key, token.rules);
  }
  const bool anonymous = rights.owner.empty();
  if (anonymous && !config_.anonymous_allowed()) return std::nullopt;
  return rights.credential;
}

}  // namespace millrace::server
