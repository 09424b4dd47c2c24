#include "server/app/settings.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>

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

// Reads all that stands in `settings` beside the configuration and the access rules.
void read_tls(Settings& settings, std::vector<ConfigFault>& faults) {
  const Config& config = settings.config;
  for (std::size_t i = 0; i < config.listeners.size(); ++i) {
    std::vector<TlsFault> found;
    settings.tls.push_back(make_tls_setup(config.listeners[i], found));
    add_faults(found, "listeners[" + std::to_string(i) + "].", faults);
  }
  for (std::size_t i = 0; i < config.http.listeners.size(); ++i) {
    std::vector<TlsFault> found;
    settings.http_tls.push_back(make_tls_setup(config.http.listeners[i].as_listener(), found));
    add_faults(found, "http.listeners[" + std::to_string(i) + "].", faults);
  }
  const HttpHookConfig& hook = config.access.http;
  if (hook.authenticate_url.starts_with("https:") || hook.authorize_url.starts_with("https:")) {
    UpstreamTlsConfig tls;
    tls.ca_file = hook.ca_file;
    std::vector<TlsFault> found;
    settings.hook_tls = make_client_tls_setup(tls, found);
    for (TlsFault& fault : found) {
      faults.push_back({"access.http.ca_file", std::move(fault.message), ""});
    }
  }
  for (std::size_t i = 0; i < config.upstreams.size(); ++i) {
    const std::string path = "upstreams[" + std::to_string(i) + "].";
    settings.upstreams.push_back(read_files_of(config.upstreams[i], path, faults));
  }
}

// The rules are not looked at: with a fault in them there is nothing that they could be made into.
void add_faults_of_files(const Config& config, std::vector<ConfigFault>& faults) {
  std::vector<ConfigFault> found;
  Access::add_faults_of_files(config.access, found);
  Settings unused{config, nullptr};
  read_tls(unused, found);
  std::erase_if(found, [&](const ConfigFault& fault) { return is_at_fault(faults, fault.path); });
  faults.insert(faults.end(), std::make_move_iterator(found.begin()),
                std::make_move_iterator(found.end()));
}

void add_files_of(const TlsConfig& tls, std::vector<std::string>& files) {
  files.insert(files.end(), {tls.certificate_file, tls.key_file, tls.key_password_file,
                             tls.client_ca_file, tls.crl_file});
  files.insert(files.end(), tls.more_certificate_files.begin(), tls.more_certificate_files.end());
  files.insert(files.end(), tls.more_key_files.begin(), tls.more_key_files.end());
}

}  // namespace

std::vector<std::string> tls_files_of(const Config& config) {
  std::vector<std::string> files;
  for (const ListenerConfig& listener : config.listeners) add_files_of(listener.tls, files);
  for (const HttpListenerConfig& listener : config.http.listeners)
    add_files_of(listener.tls, files);
  for (const UpstreamConfig& upstream : config.upstreams) {
    const UpstreamTlsConfig& tls = upstream.tls;
    files.insert(files.end(),
                 {tls.ca_file, tls.certificate_file, tls.key_file, tls.key_password_file,
                  upstream.password_file, upstream.credentials_file});
  }
  files.push_back(config.access.http.ca_file);
  std::erase(files, "");
  return files;
}

std::shared_ptr<const Settings> read_tls_again(const Settings& settings,
                                               std::vector<ConfigFault>& faults) {
  const std::size_t before = faults.size();
  Settings made{settings.config, settings.access};
  read_tls(made, faults);
  if (faults.size() > before) return nullptr;
  return std::make_shared<const Settings>(std::move(made));
}

std::shared_ptr<const Settings> make_settings(const Config& config,
                                              std::vector<ConfigFault>& faults) {
  if (!faults.empty()) {
    add_faults_of_files(config, faults);
    return nullptr;
  }
  std::vector<std::string> listeners;
  for (const ListenerConfig& listener : config.listeners) listeners.push_back(listener.name);
  Settings settings{config, Access::make(config.access, faults, listeners)};
  read_tls(settings, faults);
  if (!faults.empty()) return nullptr;
  return std::make_shared<const Settings>(std::move(settings));
}

}  // namespace millrace::server
