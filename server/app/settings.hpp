// From a configuration to the settings that a server runs with: reads the files that the
// configuration names, with every fault reported under the path of its key. `millrace check`, the
// start and a reload all go through here, so that what one calls valid the others accept.
//
// Threads: any; reads files.
#pragma once

#include <memory>
#include <vector>

#include "server/auth/settings.hpp"
#include "server/config/config.hpp"

namespace millrace::server {

// Null if there are faults; they are appended to `faults`. What stands there before are those of the
// configuration itself: then the files are read for their faults alone, but for those of keys that
// are at fault already.
std::shared_ptr<const Settings> make_settings(const Config& config,
                                              std::vector<ConfigFault>& faults);

// `settings` with the files of TLS, and the passwords of upstreams, as they are now; null: they cannot
// be used, and `faults` says why.
std::shared_ptr<const Settings> read_tls_again(const Settings& settings,
                                               std::vector<ConfigFault>& faults);
// Those files.
std::vector<std::string> tls_files_of(const Config& config);

}  // namespace millrace::server
