// The rights of the users of local processes under the settings in force: each worked out once.
//
// Thread contract: the control loop's thread.
// What holds: the rights that are given are those of the settings that are asked for, whichever were
// asked for before. A reload may come at any time, also between a caller's look at the settings and
// its question.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "server/auth/settings.hpp"

namespace millrace::server {

class UserGrants {
 public:
  // Valid until the next call.
  const Grants& of(const std::string& user, const std::shared_ptr<const Settings>& settings) {
    if (settings_ != settings) {
      grants_.clear();
      settings_ = settings;
    }
    auto& grants = grants_[user];
    if (!grants) grants = settings->access->grants_of(user, {{}, {}, local_listener});
    return *grants;
  }

 private:
  // Held, so that no others come to stand in their place.
  std::shared_ptr<const Settings> settings_;
  std::unordered_map<std::string, std::shared_ptr<const Grants>> grants_;
};

}  // namespace millrace::server
