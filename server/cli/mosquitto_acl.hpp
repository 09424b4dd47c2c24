// From mosquitto's acl_file to access.rules: the same decisions, in an order in which the first match
// wins.
//
//     topic [read|write|readwrite|deny] FILTER     before any `user`: for clients without a name
//     user NAME                                    the lines that follow are this user's
//     pattern [read|write|readwrite|deny] FILTER   for everybody, wherever it stands; %u and %c are
//                                                  the client's user name and identifier
//
// mosquitto asks a user's denials first, then what that user is allowed, then the patterns in the
// same order; what nothing allows is denied.
//
// Threads: none of its own; pure.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::server {

struct ImportedAcl {
  struct Note {
    std::size_t line = 0;
    std::string said;  // the line
    std::string why;   // what is not as it was, or why there is no rule
  };
  nlohmann::ordered_json rules = nlohmann::ordered_json::array();
  std::vector<Note> notes;
};

ImportedAcl import_mosquitto_acl(std::string_view text);

}  // namespace millrace::server
