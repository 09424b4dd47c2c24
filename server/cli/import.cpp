// `millrace import`: prints the configuration that does what another server's does, and what is not
// the same.
#include <iostream>

#include "server/cli/cli.hpp"
#include "server/cli/mosquitto_conf.hpp"

namespace millrace::server {

namespace po = boost::program_options;

namespace {

constexpr const char* import_usage =
    "usage: millrace import MOSQUITTO.CONF [options]\n\n"
    "Prints the configuration that does what mosquitto's does, as JSON. Each line that has no\n"
    "counterpart, or not quite the same, is named on standard error, with the reason. The files "
    "of\n"
    "users and rules that it names are read too.\n\n";

// Each key as an argument of --set.
void add_sets(const std::string& path, const nlohmann::ordered_json& value,
              std::vector<std::string>& sets) {
  if (!value.is_object()) return sets.push_back(path + "=" + value.dump());
  for (const auto& [key, part] : value.items()) {
    add_sets(path.empty() ? key : path + "." + key, part, sets);
  }
}

// As the server would judge it, but for the files, which may not be where they will be.
std::vector<ConfigFault> faults_of(const nlohmann::ordered_json& config) {
  ConfigSources sources;
  add_sets("", config, sources.sets);
  return load_config(sources).faults;
}

}  // namespace

int run_import(const Arguments& arguments) {
  po::options_description options("Options");
  options.add_options()("root", po::value<std::string>()->default_value("")->value_name("FOLDER"),
                        "the folder that is / to the paths in the file, such as a container's");
  options.add_options()("help,h", "print this text");
  po::options_description all;
  all.add(options).add_options()("file", po::value<std::string>());
  po::positional_options_description positional;
  positional.add("file", 1);
  const po::variables_map values = parse_options(arguments, all, positional);
  if (values.count("help") > 0) {
    std::cout << import_usage << options;
    return 0;
  }
  if (values.count("file") == 0) throw UsageError("import needs a file");
  const Imported imported =
      import_mosquitto(values["file"].as<std::string>(), values["root"].as<std::string>());
  std::cout << imported.config.dump(2, ' ', false, nlohmann::json::error_handler_t::replace)
            << std::endl;
  for (const ImportNote& note : imported.notes) std::cerr << note.to_string() << "\n";
  for (const ConfigFault& fault : faults_of(imported.config)) {
    std::cerr << "to be mended: " << fault.path << (fault.path.empty() ? "" : ": ") << fault.message
              << "\n";
  }
  return 0;
}

}  // namespace millrace::server
