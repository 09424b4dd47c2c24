#include "server/config/session_name.hpp"

namespace millrace::server {

std::string name_of_session(std::string_view user, std::string_view client_id) {
  std::string name(user);
  if (!user.empty()) name.push_back('\0');
  return name.append(client_id);
}

std::string name_of_link(std::string_view id) {
  std::string name(id);
  name.push_back('\0');
  return name;
}

SessionName parse_session_name(std::string_view name) {
  const auto zero = name.find('\0');
  if (zero == std::string_view::npos) return {name, "", false};
  if (zero + 1 == name.size()) return {name.substr(0, zero), "", true};
  return {name.substr(zero + 1), name.substr(0, zero), false};
}

}  // namespace millrace::server
