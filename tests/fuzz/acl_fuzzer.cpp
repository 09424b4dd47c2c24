// The fuzz target of mosquitto's acl_file: what `millrace import` makes of a stranger's file.
//
// What must hold, beside the absence of crashes and of undefined behaviour:
//   - each rule is one that the server accepts: its filter is valid, its words are known;
//   - a denial stands before all that the same user is allowed;
//   - every line that is no comment is a rule, or names a user, or is noted.
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <tuple>

#include "protocol/topic.hpp"
#include "server/cli/mosquitto_acl.hpp"
#include "tests/fuzz/expect.hpp"

using namespace millrace;

namespace {

void check(const nlohmann::ordered_json& rule, std::set<std::string>& allowed) {
  const std::string effect = rule.at("effect"), filter = rule.at("filter");
  const std::string user = rule.contains("user") ? "u" + rule.at("user").get<std::string>() : "all";
  expect(effect == "allow" || effect == "deny", "an effect that there is");
  expect(protocol::valid_topic_filter(filter, 200), "a filter that is valid");
  if (rule.contains("action")) {
    const std::string action = rule.at("action");
    expect(action == "publish" || action == "subscribe", "an action that there is");
  }
  if (effect == "allow") allowed.insert(user);
  expect(effect == "allow" || allowed.count(user) == 0, "denials come first");
}

std::size_t lines_that_say_something(std::string_view text) {
  std::size_t count = 0;
  while (!text.empty()) {
    const auto end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    const auto first = line.find_first_not_of(" \t\r");
    if (first == std::string_view::npos || line[first] == '#') continue;
    const auto word = line.substr(first);
    if (!word.starts_with("user ") && !word.starts_with("user\t") && !word.starts_with("user\r")) {
      ++count;
    }
  }
  return count;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const server::ImportedAcl acl = server::import_mosquitto_acl(text);
  std::set<std::string> allowed;
  for (const auto& rule : acl.rules) check(rule, allowed);
  expect(acl.rules.size() + acl.notes.size() >= lines_that_say_something(text),
         "no line is lost without a word");
  std::ignore = acl.rules.dump(-1, ' ', false, nlohmann::json::error_handler_t::strict);
  return 0;
}
