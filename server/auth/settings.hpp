// Settings: a configuration together with what was read from the files that it names. Immutable;
// a reload makes a new one and replaces the old as one step.
//
// Threads: any.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
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
  std::vector<TlsSetup> http_tls = {};        // of config.http.listeners, in their order
  TlsSetup hook_tls = {};                     // of config.access.http; none: it uses none

  // Of the listener of that name; null: it has none.
  const TlsSetup* tls_of(std::string_view listener) const {
    for (std::size_t i = 0; i < tls.size() && i < config.listeners.size(); ++i) {
      if (config.listeners[i].name == listener) return tls[i].context ? &tls[i] : nullptr;
    }
    return nullptr;
  }
};

}  // namespace millrace::server
