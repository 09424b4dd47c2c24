// What is unsafe about settings that are valid: `millrace check` prints it, the start logs it.
//
// Threads: any; looks at files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/auth/settings.hpp"

namespace millrace::server {

struct Warning {
  std::string path;  // of the key
  std::string message;
};

inline constexpr std::int64_t certificate_warning_s = 14 * 24 * 3600;
// Many authorities make a new list each week.
inline constexpr std::int64_t revocation_list_warning_s = 2 * 24 * 3600;

// `now_s`: Unix time.
std::vector<Warning> warnings_of(const Settings& settings, std::int64_t now_s);

// How a listener's clients are known: "certificate", "password", "anonymous", joined by "|".
std::string clients_of(const Config& config, const ListenerConfig& listener);

}  // namespace millrace::server
