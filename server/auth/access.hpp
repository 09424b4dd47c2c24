// The one place that answers "may this peer do that?".
//
// An `Access` is an immutable snapshot made from the configuration. Any number of threads may use
// it; a reload makes a new one and hands the shared pointer to each I/O thread in
// turn. `authenticate` is asked once a connection; where there is a password to check it derives a
// key (milliseconds of CPU, the same for unknown users), so I/O threads leave that to the worker.
// It answers with the peer's `Grants`, which the connection keeps, and which stay valid as long as
// the connection holds them, whatever is reloaded meanwhile. Users of SCRAM prove themselves by an
// exchange (scram.hpp) over the keys that are kept here.
//
// Rules: the first that matches wins. What none matches, `access.otherwise` decides; unset, that is
// deny, or allow as long as there are no rules at all. What that means
// for a subscription, which is judged before there is a topic, says core/broker/topic_rules.hpp.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/broker/topic_rules.hpp"
#include "protocol/reason_code.hpp"
#include "server/auth/password_file.hpp"
#include "server/auth/scram.hpp"
#include "server/config/config.hpp"

namespace millrace::server {

// What one user may do. Constant after construction.
class Grants {
 public:
  Grants(std::string user, const AccessConfig& config);

  // The verified user name; empty for the anonymous.
  const std::string& user() const { return user_; }

  // Why this user may not publish there; nothing: he may. Per message: one branch when no rule
  // limits his publishing.
  std::optional<protocol::ReasonCode> publish_refusal(std::string_view topic) const {
    if (publish_is_open_) return std::nullopt;
    return publish_.refusal(topic);
  }

  // The rules that what reads by this filter has to ask about each topic; null: none, it may read
  // all that the filter matches; an error: why it may read nothing. `filter` is the inner one:
  // without a $share or $latest prefix.
  using ReadRules = std::shared_ptr<const broker::TopicRules>;
  protocol::Result<ReadRules> subscription(std::string_view filter) const;

 private:
  std::string user_;
  broker::TopicRules publish_;  // of the rules, those that concern this user
  ReadRules subscribe_;
  bool publish_is_open_;
};

class Access {
 public:
  // Reads the files of users. What is wrong with them is added to `faults` (then the result is
  // null).
  static std::shared_ptr<const Access> make(const AccessConfig& config,
                                            std::vector<ConfigFault>& faults);

  // BadUserNameOrPassword, or NotAuthorized if no name was given and the anonymous may not come in.
  // Without a password file names are not verified, so every peer that is let in is anonymous,
  // whatever name it sent.
  protocol::Result<std::shared_ptr<const Grants>> authenticate(
      std::optional<std::string_view> user_name, std::optional<std::string_view> password) const;

  // Whether a name and a password make a difference at all.
  bool verifies_names() const { return !config_.password_file.empty(); }
  // How many clients' passwords may wait to be checked.
  std::size_t password_checks_max() const { return config_.password_checks_max; }
  // Null: SCRAM is not offered.
  const ScramFile* scram() const { return config_.scram_file.empty() ? nullptr : &scram_; }

  // Of the user that a client's certificate names; NotAuthorized if it names none.
  protocol::Result<std::shared_ptr<const Grants>> grants_of_certified(std::string_view user) const;
  // Of a user that was verified (on an older snapshot, say); the empty name is the anonymous.
  std::shared_ptr<const Grants> grants_of(std::string_view user) const;

 private:
  Access(const AccessConfig& config, PasswordFile passwords, ScramFile scram);

  const AccessConfig config_;
  const PasswordFile passwords_;
  const ScramFile scram_;
  // One Grants a user, made when the user first comes: asked once a connection, so a lock is fine.
  mutable std::mutex mutex_;
  mutable std::map<std::string, std::shared_ptr<const Grants>, std::less<>> grants_;
};

}  // namespace millrace::server
