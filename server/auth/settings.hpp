// Settings: a configuration together with what was read from the files that it names. Immutable;
// a reload makes a new one and replaces the old as one step.
//
// Threads: any.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/auth/access.hpp"
#include "server/auth/tls_context.hpp"
#include "server/config/config.hpp"

namespace millrace::server {

// What an upstream's keys name.
struct UpstreamFiles {
  TlsSetup tls;  // none: no address uses it
  std::optional<std::string> password;
};

struct Settings {
  Config config;
  std::shared_ptr<const Access> access;
  std::vector<TlsSetup> tls = {};             // of config.listeners, in their order
  std::vector<UpstreamFiles> upstreams = {};  // of config.upstreams, in their order
};

}  // namespace millrace::server
