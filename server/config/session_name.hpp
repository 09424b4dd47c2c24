// The processor's names of sessions. A session's name is its client identifier; where each user has
// client identifiers of its own (session.scope), the user stands before that, and a link to another
// broker has a name that no client can have. A zero byte tells these apart: neither a user name nor
// an identifier has one [MQTT-1.5.4-2]. Pure; any thread.
#pragma once

#include <string>
#include <string_view>

namespace millrace::server {

// "user\0identifier". The anonymous have nothing in front.
std::string name_of_session(std::string_view user, std::string_view client_id);
// "identifier\0".
std::string name_of_link(std::string_view id);

// The texts are the name's.
struct SessionName {
  std::string_view id;
  std::string_view user;  // empty: none is in the name
  bool is_link = false;
};
SessionName parse_session_name(std::string_view name);

}  // namespace millrace::server
