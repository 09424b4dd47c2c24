#include "server/app/settings.hpp"

#include <algorithm>
#include <fstream>

#include "server/config/upstream_address.hpp"

namespace millrace::server {

namespace {

void add_faults(std::vector<TlsFault>& found, const std::string& path,
                std::vector<ConfigFault>& faults) {
  for (TlsFault& fault : found) faults.push_back({path + fault.key, std::move(fault.message), ""});
}

bool uses_tls(const UpstreamConfig& upstream) {
  return std::ranges::any_of(upstream.addresses, [](const std::string& text) {
    std::string fault;
    const auto address = parse_upstream_address(text, fault);
    return address && address->uses_tls();
  });
}

UpstreamFiles read_files_of(const UpstreamConfig& upstream, const std::string& path,
                            std::vector<ConfigFault>& faults) {
  UpstreamFiles files;
  if (uses_tls(upstream)) {
    std::vector<TlsFault> found;
    files.tls = make_client_tls_setup(upstream.tls, found);
    add_faults(found, path, faults);
  }
  if (upstream.password_file.empty()) return files;
  std::ifstream stream(upstream.password_file);
  std::string line;
  if (std::getline(stream, line)) {
    if (line.ends_with('\r')) line.pop_back();
    files.password = std::move(line);
  } else {
    faults.push_back({path + "password_file", "has no first line: " + upstream.password_file, ""});
  }
  if (files.password && files.password->size() > 65'535) {
    faults.push_back({path + "password_file", "its first line is longer than 65,535 bytes", ""});
  }
  return files;
}

}  // namespace

std::shared_ptr<const Settings> make_settings(const Config& config,
                                              std::vector<ConfigFault>& faults) {
  const std::size_t before = faults.size();
  std::vector<std::string> listeners;
  for (const ListenerConfig& listener : config.listeners) listeners.push_back(listener.name);
  auto access = Access::make(config.access, faults, listeners);
  std::vector<TlsSetup> tls;
  for (std::size_t i = 0; i < config.listeners.size(); ++i) {
    std::vector<TlsFault> found;
    tls.push_back(make_tls_setup(config.listeners[i], found));
    add_faults(found, "listeners[" + std::to_string(i) + "].", faults);
  }
  std::vector<TlsSetup> http_tls;
  for (std::size_t i = 0; i < config.http.listeners.size(); ++i) {
    std::vector<TlsFault> found;
    http_tls.push_back(make_tls_setup(config.http.listeners[i].as_listener(), found));
    add_faults(found, "http.listeners[" + std::to_string(i) + "].", faults);
  }
  std::vector<UpstreamFiles> upstreams;
  for (std::size_t i = 0; i < config.upstreams.size(); ++i) {
    const std::string path = "upstreams[" + std::to_string(i) + "].";
    upstreams.push_back(read_files_of(config.upstreams[i], path, faults));
  }
  if (faults.size() > before) return nullptr;
  return std::make_shared<const Settings>(Settings{config, std::move(access), std::move(tls),
                                                   std::move(upstreams), std::move(http_tls)});
}

}  // namespace millrace::server
