#include "server/cli/mosquitto_acl.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>

#include "core/base/trimmed.hpp"
#include "protocol/topic.hpp"
#include "protocol/utf8.hpp"
#include "server/auth/user_file.hpp"

namespace millrace::server {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t levels_max = 200;  // mosquitto's, and the default of mqtt.topic_levels_max
constexpr std::string_view blanks = " \t\r";

std::string_view take_word(std::string_view& rest) {
  const auto end = rest.find_first_of(blanks);
  const std::string_view word = rest.substr(0, end);
  rest =
      end == std::string_view::npos ? std::string_view() : base::trimmed(rest.substr(end), blanks);
  return word;
}

// What an access word allows; null: it denies.
std::optional<const char*> action_of(std::string_view word) {
  if (word == "read") return "subscribe";
  if (word == "write") return "publish";
  if (word == "readwrite") return "all";
  if (word == "deny") return nullptr;
  return std::nullopt;
}

// One client's rules, or everybody's.
struct Rules {
  std::vector<Json> denials, allowances;
};

class Reader {
 public:
  ImportedAcl read(std::string_view text) {
    for (std::size_t number = 1; !text.empty(); ++number) {
      const std::string_view line = base::trimmed(take_part(text, '\n'), blanks);
      if (!line.empty() && line.front() != '#') take(line, number);
    }
    return finish();
  }

 private:
  void note(std::string why) {
    acl_.notes.push_back({number_, std::string(line_), std::move(why)});
  }

  void take(std::string_view line, std::size_t number) {
    line_ = line;
    number_ = number;
    std::string_view rest = line;
    const std::string_view word = take_word(rest);
    if (!protocol::valid_utf8(line)) return note("is not UTF-8");
    if (word == "user") return take_user(rest);
    if (word == "topic") return take_topic(rest, false);
    if (word == "pattern") return take_topic(rest, true);
    note("\"" + std::string(word) + "\" is neither user nor topic nor pattern");
  }

  void take_user(std::string_view name) {
    if (name.empty()) {
      return note("names no user; the lines that follow are still those of the user before");
    }
    user_ = name;
  }

  void take_topic(std::string_view rest, bool for_everybody) {
    std::string_view filter = rest;
    const std::string_view word = take_word(filter);
    std::optional<const char*> action = action_of(word);
    if (filter.empty()) {  // a filter alone, whatever it is called
      filter = word;
      action = "all";
    }
    if (!action) {
      return note("\"" + std::string(word) + "\" is neither read nor write, readwrite or deny");
    }
    if (!protocol::valid_topic_filter(filter, levels_max)) return note("is not a topic filter");
    if (protocol::has_prefix(filter)) {
      return note("must be the plain filter: here the rule for it decides, without its prefix");
    }
    if (!for_everybody && has_placeholder(filter)) {
      return note(
          std::string("%u and %c stand for user name and client identifier in every rule here, "
                      "while a topic line means them literally") +
          (*action == nullptr ? "; until there is a rule, more is allowed than was" : ""));
    }
    add(for_everybody ? everybody_ : users_[user_], filter, *action, for_everybody);
  }

  static bool has_placeholder(std::string_view filter) {
    return filter.find("%u") != std::string_view::npos ||
           filter.find("%c") != std::string_view::npos;
  }

  void add(Rules& rules, std::string_view filter, const char* action, bool for_everybody) {
    Json rule;
    rule["effect"] = action == nullptr ? "deny" : "allow";
    if (!for_everybody) rule["user"] = user_;
    if (action != nullptr && std::string_view(action) != "all") rule["action"] = action;
    rule["filter"] = filter;
    reads_some_ = reads_some_ ||
                  (action != nullptr && std::string_view(action) != "publish" && filter != "#");
    (action == nullptr ? rules.denials : rules.allowances).push_back(std::move(rule));
  }

  void append(const Rules& rules) {
    for (const Json& rule : rules.denials) acl_.rules.push_back(rule);
    for (const Json& rule : rules.allowances) acl_.rules.push_back(rule);
  }

  ImportedAcl finish() {
    for (const auto& [user, rules] : users_) append(rules);
    append(everybody_);
    if (reads_some_) {
      line_ = "";
      number_ = 0;
      note(
          "mosquitto grants every subscription and holds back what may not be read; here a "
          "subscription is refused unless a rule covers its whole filter");
    }
    return std::move(acl_);
  }

  ImportedAcl acl_;
  std::map<std::string, Rules, std::less<>> users_;  // "": clients without a name
  Rules everybody_;
  std::string user_;
  std::string_view line_;
  std::size_t number_ = 0;
  bool reads_some_ = false;
};

}  // namespace

ImportedAcl import_mosquitto_acl(std::string_view text) {
  return Reader().read(text);
}

}  // namespace millrace::server
