// The one place that answers "may this peer do that?".
//
// An `Access` is an immutable snapshot made from the configuration. Any number of threads may use
// it; a reload makes a new one and hands the shared pointer to each I/O thread in
// turn. `authenticate` is asked once a connection; where there is a password to check it derives a
// key (milliseconds of CPU, the same for unknown users), so I/O threads leave that to the worker.
// It answers with the peer's `Grants`, which the connection keeps, and the broker with the session
// (broker::Rights). They stay valid whatever is reloaded; after a reload both ask the new snapshot
// for the ones of then: readmit(), renew(). Users of SCRAM prove themselves by an exchange
// (scram.hpp) over the keys that are kept here.
//
// Rules: the first that matches wins. What none matches, `access.otherwise` decides; unset, that is
// deny, or allow as long as there are no rules at all. What that means
// for a subscription, which is judged before there is a topic, says core/broker/topic_rules.hpp;
// whom a rule concerns, user_rules.hpp. Rights can depend on how a client came (broker::Arrival),
// so whoever asks says that each time.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/broker/rights.hpp"
#include "core/broker/topic_rules.hpp"
#include "protocol/reason_code.hpp"
#include "server/auth/http_tokens.hpp"
#include "server/auth/jwt.hpp"
#include "server/auth/password_file.hpp"
#include "server/auth/scram.hpp"
#include "server/auth/user_rules.hpp"
#include "server/config/config.hpp"

namespace millrace::server {

// What one user may do. Constant after construction.
class Grants {
 public:
  Grants(std::string user, const AccessConfig& config, const broker::Arrival& arrival = {});
  explicit Grants(broker::RightsRef rights, std::int64_t expires_at_s = 0)
      : rights_(std::move(rights)), publish_(rights_->publish.get()), expires_at_s_(expires_at_s) {}

  // The verified user name; empty for the anonymous.
  const std::string& user() const { return rights_->owner; }
  // When whoever has just come in by these must have come in anew, in Unix time; 0: never.
  std::int64_t expires_at_s() const { return expires_at_s_; }
  // The same for the broker.
  const broker::RightsRef& rights() const { return rights_; }

  // Why this user may not publish there; nothing: he may. Per message: one branch when no rule
  // limits his publishing.
  std::optional<protocol::ReasonCode> publish_refusal(std::string_view topic,
                                                      broker::PublishedHow how = {}) const {
    if (publish_ == nullptr) return std::nullopt;
    return publish_->refusal(topic, how);
  }

  // As broker::Rights::subscription().
  using ReadRules = std::shared_ptr<const broker::TopicRules>;
  protocol::Result<ReadRules> subscription(std::string_view filter) const {
    return rights_->subscription(filter);
  }

 private:
  broker::RightsRef rights_;
  const broker::TopicRules* publish_;  // of the rights; null: everything is open
  std::int64_t expires_at_s_;
};

class Access final : public broker::Authority {
 public:
  // Reads the files of users. What is wrong with them is added to `faults` (then the result is
  // null). `listeners`: the names of the configuration's, in their order.
  static std::shared_ptr<const Access> make(const AccessConfig& config,
                                            std::vector<ConfigFault>& faults,
                                            const std::vector<std::string>& listeners = {});
  // What is wrong with the same files, of a configuration that cannot be used, whatever its rules
  // are.
  static void add_faults_of_files(const AccessConfig& config, std::vector<ConfigFault>& faults);

  // BadUserNameOrPassword, or NotAuthorized if no name was given and the anonymous may not come in.
  // A password that looks like a token is one, where tokens are taken; its user is whom it names,
  // whatever name was sent. Where nothing is verified, every peer that is let in is anonymous,
  // whatever name it sent.
  protocol::Result<std::shared_ptr<const Grants>> authenticate(
      std::optional<std::string_view> user_name, std::optional<std::string_view> password,
      const broker::Arrival& arrival = {}) const;

  // Whether a name and a password make a difference at all.
  bool verifies_names() const { return !config_.password_file.empty() || jwt_ != nullptr; }
  // Whether clients may come in by a token (JWT).
  bool takes_tokens() const { return jwt_ != nullptr; }
  // The name that these prove if they are right, for what is remembered of logins (LoginDelays).
  // Empty: a token says by itself whom it names, so what was sent beside it proves nothing.
  std::string name_to_prove(std::optional<std::string_view> user_name,
                            std::optional<std::string_view> password) const;
  // Whether access.jwt.keys_file holds secrets beside public keys, or instead of them.
  bool has_secrets_in_key_set() const { return jwt_ != nullptr && jwt_->has_secrets_in_set(); }
  // By a token alone. BadUserNameOrPassword: it is refused.
  protocol::Result<std::shared_ptr<const Grants>> authenticate_token(
      std::string_view token, const broker::Arrival& arrival = {}) const;
  // How many clients' passwords may wait to be checked.
  std::size_t password_checks_max() const { return config_.password_checks_max; }
  // Whether this user, verified, may manage the server over HTTP.
  bool is_administrator(std::string_view user) const;
  // Whether access.http is to be asked about a client with this name and password.
  bool asks_hook(std::optional<std::string_view> user_name,
                 std::optional<std::string_view> password) const;
  // Of a user for whom access.http vouched, and the rules that it gave: as text, and parsed; null:
  // none.
  std::shared_ptr<const Grants> grants_of_hook(std::string_view user, std::string_view rules,
                                               std::shared_ptr<const broker::CarriedRules> carried,
                                               const broker::Arrival& arrival) const;
  // What programs show over HTTP.
  const HttpTokens& http_tokens() const { return http_tokens_; }
  // Null: SCRAM is not offered.
  const ScramFile* scram() const { return config_.scram_file.empty() ? nullptr : &scram_; }

  // Of the user that a client's certificate names; NotAuthorized if it names none.
  protocol::Result<std::shared_ptr<const Grants>> grants_of_certified(
      std::string_view user, const broker::Arrival& arrival = {}) const;
  // Of a user who proved to know the password of these keys. NotAuthorized: they are of an older
  // snapshot, and the user has others now, or none.
  protocol::Result<std::shared_ptr<const Grants>> grants_of_scram(
      std::string_view user, const ScramKeys& keys, const broker::Arrival& arrival = {}) const;
  // Of whoever needs no verification; the empty name is the anonymous.
  std::shared_ptr<const Grants> grants_of(std::string_view user,
                                          const broker::Arrival& arrival = {}) const;

  // What a connection has now that an older snapshot let in. Null: this one would not let it in as
  // it came: the user is gone, or has another password.
  std::shared_ptr<const Grants> readmit(const Grants& grants,
                                        const broker::Arrival& arrival = {}) const;

  // --- broker::Authority, for sessions: they belong to the user, whatever the password is ---
  std::uint64_t revision() const override { return revision_; }
  broker::RightsRef renew(const broker::Rights& rights,
                          const broker::Arrival& arrival = {}) const override;

 private:
  Access(const AccessConfig& config, const std::vector<std::string>& listeners,
         PasswordFile passwords, ScramFile scram, std::shared_ptr<const JwtVerifier> jwt,
         HttpTokens http_tokens);

  using CarriedRef = std::shared_ptr<const broker::CarriedRules>;
  std::shared_ptr<const Grants> grants_of(std::string_view user, std::string_view credential,
                                          const broker::Arrival& arrival,
                                          const CarriedRef& carried = nullptr) const;
  broker::RightsRef make_rights(const std::string& user, std::string_view credential,
                                const broker::Arrival& arrival, const CarriedRef& carried) const;
  std::optional<std::string> credential_of(const broker::Rights& rights) const;
  bool knows_key(std::string_view key) const;

  const std::uint64_t revision_;
  const AccessConfig config_;
  const PasswordFile passwords_;
  const ScramFile scram_;
  const std::shared_ptr<const JwtVerifier> jwt_;  // null: no tokens are taken
  const HttpTokens http_tokens_;
  const UserRules rules_;
  // One Grants a user and credential, made when the user first comes: asked once a connection and
  // reload, so a lock is fine. Empty where rules ask how a client came.
  mutable std::mutex mutex_;
  mutable std::unordered_map<std::string, std::shared_ptr<const Grants>> grants_;
};

}  // namespace millrace::server
