#include "server/app/settings.hpp"

namespace millrace::server {

std::shared_ptr<const Settings> make_settings(const Config& config,
                                              std::vector<ConfigFault>& faults) {
  auto access = Access::make(config.access, faults);
  if (!access) return nullptr;
  return std::make_shared<const Settings>(Settings{config, std::move(access)});
}

}  // namespace millrace::server
