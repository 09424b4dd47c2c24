#include <csignal>
#include <iostream>

#include "server/app/run.hpp"
#include "server/app/settings.hpp"
#include "server/cli/cli.hpp"
#include "server/observe/log.hpp"

namespace millrace::server {

namespace po = boost::program_options;

int run_serve(const Arguments& arguments) {
  po::options_description options = source_options();
  options.add_options()("help,h", "print this text");
  const po::variables_map values = parse_options(arguments, options);
  if (values.count("help") > 0) {
    std::cout << "usage: millrace [serve] [options]\n\n"
              << options << "\nKeys (--set KEY=VALUE, or in the file, or as a variable: "
              << config_variable("queue.bytes_max") << " is queue.bytes_max):\n"
              << config_help();
    return 0;
  }
  std::signal(SIGHUP, SIG_IGN);  // until there is something to reload; it would end the process
  const ConfigSources sources = sources_of(values);
  const LoadedConfig loaded = load_config(sources);
  std::vector<ConfigFault> faults = loaded.faults;
  std::shared_ptr<const Settings> settings = make_settings(loaded.config, faults);
  if (!settings) {
    for (const ConfigFault& fault : faults) std::cerr << fault.to_string() << "\n";
    std::cerr << "millrace: the configuration is faulty; nothing was started\n";
    return 1;
  }
  setup_log(loaded.config.log);
  return run(std::move(settings), sources);
}

}  // namespace millrace::server
