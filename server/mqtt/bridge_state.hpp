// Where a bridge of another broker tells whether it is connected: mosquitto's convention, which its
// users watch. The one name below `$SYS` that a client may publish to, and only to its own. Pure.
#pragma once

#include <string>
#include <string_view>

namespace millrace::server {

inline std::string bridge_state_topic(std::string_view client_id) {
  return "$SYS/broker/connection/" + std::string(client_id) + "/state";
}

}  // namespace millrace::server
