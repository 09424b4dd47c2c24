#include <ctime>
#include <iostream>

#include "server/app/all_metrics.hpp"
#include "server/app/settings.hpp"
#include "server/app/warnings.hpp"
#include "server/cli/cli.hpp"
#include "server/cli/tls_options.hpp"

namespace millrace::server {

namespace po = boost::program_options;

namespace {

std::string paths_of(const ListenerConfig& listener) {
  std::string text;
  if (!listener.uses_websocket()) return text;
  for (const std::string& path : listener.path) text += (text.empty() ? " path " : ", ") + path;
  return text;
}

// Nothing of what serves everything.
std::string serves(const std::vector<std::string>& parts) {
  std::string text;
  if (parts.size() == HttpConfig().serves.size()) return text;
  for (const std::string& part : parts) text += (text.empty() ? ": " : ", ") + part;
  return text;
}

int report(LoadedConfig loaded) {
  const auto settings = make_settings(loaded.config, loaded.faults);
  for (const ConfigFault& fault : loaded.faults) std::cout << fault.to_string() << "\n";
  if (!loaded.ok()) {
    std::cout << loaded.faults.size() << (loaded.faults.size() == 1 ? " fault\n" : " faults\n");
    return 1;
  }
  for (const ListenerConfig& listener : loaded.config.listeners) {
    std::cout << "listener " << listener.name << ": " << to_string(listener.transport) << " on "
              << (listener.uses_unix() ? listener.socket
                                       : address_text(listener.host, listener.port))
              << paths_of(listener) << (listener.uses_tls() ? ", TLS " : "")
              << (listener.uses_tls() ? to_string(listener.tls.version_min) : "")
              << ", clients: " << clients_of(loaded.config, listener) << "\n";
  }
  const HttpConfig& http = loaded.config.http;
  std::cout << "http on " << address_text(http.host, http.port) << serves(http.serves) << "\n";
  for (const HttpListenerConfig& listener : http.listeners) {
    std::cout << (listener.uses_tls() ? "https on " : "http on ")
              << address_text(listener.host, listener.port) << serves(listener.serves) << "\n";
  }
  for (const Warning& warning : warnings_of(*settings, std::time(nullptr))) {
    std::cout << "warning: " << warning.path << ": " << warning.message << "\n";
  }
  std::cout << "the configuration is valid\n";
  return 0;
}

}  // namespace

int run_check(const Arguments& arguments) {
  po::options_description options = source_options();
  options.add_options()("help,h", "print this text");
  options.add_options()(
      "health", po::value<std::string>()->implicit_value("")->value_name("URL"),
      "ask a running server instead: exit with 0 if it answers 200 within 5 seconds. "
      "Without a URL, /readyz of the server that this configuration describes");
  add_tls_options(options);
  options.add_options()("print-table", "print all keys as a Markdown table");
  options.add_options()("print-metrics", "print all metrics as a Markdown table");
  const po::variables_map values = parse_options(arguments, options);
  if (values.count("help") > 0) {
    std::cout << "usage: millrace check [options]\n\n" << options << "\nKeys:\n" << config_help();
    return 0;
  }
  if (values.count("print-table") > 0) {
    std::cout << config_table_markdown();
    return 0;
  }
  if (values.count("print-metrics") > 0) {
    std::cout << all_metrics_markdown();
    return 0;
  }
  const bool asks_health = values.count("health") > 0;
  const std::string url = asks_health ? values["health"].as<std::string>() : "";
  if (!url.empty()) return check_health(url, 5, values);
  if (has_tls_options(values)) {
    throw UsageError(
        "--ca-file, --cert-file, --key-file and --key-password-file are for --health https://...");
  }
  const LoadedConfig loaded = load_config(sources_of(values));
  if (asks_health && loaded.ok()) return check_health(health_url(loaded.config), 5, values);
  return report(loaded);
}

}  // namespace millrace::server
