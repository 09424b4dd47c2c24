// UserRules: the access rules of a configuration, and what of them concerns one client.
//
// Rules are kept by the user whom they name, so that what one user may do is found without a look
// at the others'. A rule may name more than the user: client identifier, address, listener, and
// stand for the client's own topics (`%u`, `%c`); then each client has lists of its own. Users
// without a rule of their own share one object as long as no rule asks for more than the user.
//
// A placeholder's value never widens a rule: with a wildcard, a level separator or a `$` in front,
// a rule that allows matches nothing, and one that denies matches more than it names.
//
// Threads: constant after construction; any.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/broker/rights.hpp"
#include "server/config/address_range.hpp"
#include "server/config/config.hpp"

namespace millrace::server {

// What broker::Arrival::listener says of who came by no listener of MQTT.
inline constexpr std::uint16_t http_listener = 0xFFFE;
inline constexpr std::uint16_t local_listener = 0xFFFD;
// The number of an MQTT listener is its place in the configuration.
std::uint16_t listener_number(const Config& config, std::string_view name);

class UserRules {
 public:
  // `listeners`: the names of the configuration's, in their order.
  UserRules(const AccessConfig& config, const std::vector<std::string>& listeners);

  // Null: nothing is limited.
  using RulesRef = std::shared_ptr<const broker::TopicRules>;
  struct Lists {
    RulesRef publish;
    RulesRef subscribe;
    RulesRef receive;
  };
  Lists of(const std::string& user, const broker::Arrival& arrival) const;

  // Whether some rule asks how a client came: clients of one user may have different lists.
  bool ask_arrival() const { return ask_arrival_; }

 private:
  using Numbers = std::vector<std::uint32_t>;  // of rules, rising
  // A rule, with what it says about the client as it is asked.
  struct Rule {
    AccessRule rule;
    std::vector<AddressRange> addresses;
    std::vector<std::uint16_t> listeners;
    bool asks_arrival = false;
    bool has_placeholder = false;
  };

  Lists make(const Numbers& numbers, const std::string& user, const broker::Arrival& arrival) const;
  static bool concerns(const Rule& rule, const broker::Arrival& arrival);

  std::vector<Rule> rules_;
  bool otherwise_allow_;
  bool ask_arrival_ = false;
  Numbers of_everybody_;
  std::unordered_map<std::string, Numbers> of_user_;
  std::optional<Lists> for_everybody_;  // unset: it differs between clients
};

// The filter of a rule for this client; nothing: it matches nothing. See above.
std::optional<std::string> fill_in(std::string_view filter, std::string_view user,
                                   std::string_view client_id, bool allow);

}  // namespace millrace::server
