#include "server/app/settings.hpp"

namespace millrace::server {

std::shared_ptr<const Settings> make_settings(const Config& config,
                                              std::vector<ConfigFault>& faults) {
  const std::size_t before = faults.size();
  auto access = Access::make(config.access, faults);
  std::vector<TlsSetup> tls;
  for (std::size_t i = 0; i < config.listeners.size(); ++i) {
    std::vector<TlsFault> found;
    tls.push_back(make_tls_setup(config.listeners[i], found));
    const std::string path = "listeners[" + std::to_string(i) + "].";
    for (TlsFault& fault : found)
      faults.push_back({path + fault.key, std::move(fault.message), ""});
  }
  if (faults.size() > before) return nullptr;
  return std::make_shared<const Settings>(Settings{config, std::move(access), std::move(tls)});
}

}  // namespace millrace::server
