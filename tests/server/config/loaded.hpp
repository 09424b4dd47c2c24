// A configuration from a file or from the command line, and what is said about it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "server/config/schema.hpp"
#include "tests/server/files.hpp"

namespace millrace::server {

inline LoadedConfig with_sets(std::vector<std::string> sets) {
  ConfigSources sources;
  sources.sets = std::move(sets);
  return load_config(sources);
}

inline LoadedConfig with_file(const std::string& text, std::vector<std::string> environment = {},
                              std::vector<std::string> sets = {}) {
  const test::Folder folder;
  ConfigSources sources;
  sources.file = folder.write("millrace.json", text);
  sources.environment = std::move(environment);
  sources.sets = std::move(sets);
  return load_config(sources);
}

inline std::string faults_of(const LoadedConfig& loaded) {
  std::string all;
  for (const ConfigFault& fault : loaded.faults) all += fault.to_string() + "\n";
  return all;
}

}  // namespace millrace::server
