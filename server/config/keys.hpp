// What the files with the keys share (keys*.cpp, one for each subject). Internal to them.
//
// Threads: as schema.hpp.
#pragma once

#include "server/config/schema.hpp"

namespace millrace::server {

inline constexpr double kib = 1024;
inline constexpr double mib = 1024 * kib;
inline constexpr double gib = 1024 * mib;

// A key's path is the path of its field.
#define FIELD(path)                  \
#path, [](auto& config) -> auto& { \
    return config.path;              \
  }

void add_front_end(Schema<Config>& schema);
void add_access(Schema<Config>& schema);
void add_upstreams(Schema<Config>& schema);

}  // namespace millrace::server
