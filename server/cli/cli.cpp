#include "server/cli/cli.hpp"

#include <boost/program_options/errors.hpp>
#include <boost/program_options/parsers.hpp>
#include <cstdlib>
#include <iostream>

#include "server/config/suggest.hpp"

namespace millrace::server {

namespace po = boost::program_options;

namespace {

constexpr const char* usage =
    "usage: millrace [serve] [options]   run the server\n"
    "       millrace check [options]     print all faults of a configuration\n"
    "       millrace passwd FILE USER    set a user's password\n"
    "       millrace store WHAT FOLDER   info, check, compact, export, import, backup of a store\n"
    "       millrace tap [FILTER]        print messages from shared memory on this host\n"
    "       millrace pub TOPIC           publish through shared memory on this host\n"
    "       millrace top                 show what a running server does\n"
    "       millrace clients [PREFIX]    list its clients\n"
    "       millrace topics [FILTER]     list its topics with their newest values\n"
    "       millrace kick CLIENT         disconnect a client\n"
    "       millrace publish TOPIC       publish over its management API\n"
    "       millrace trace               show what happens to a client, a topic or an address\n"
    "       millrace import FILE         make a configuration of a mosquitto.conf\n"
    "       millrace COMMAND --help      print the options of a command\n"
    "       millrace --version\n";

std::string misspelt(const std::string& option, const po::options_description& options) {
  std::vector<std::string> names;
  for (const auto& known : options.options()) names.push_back("--" + known->long_name());
  return "unknown option \"" + option + "\"" + suggestion(option, names);
}

std::uint16_t port_of(const po::variable_value& value, const std::string& option) {
  const std::int64_t port = value.as<std::int64_t>();
  if (port < 0 || port > 65535) throw UsageError("--" + option + " must be 0 to 65535");
  return static_cast<std::uint16_t>(port);
}

}  // namespace

po::variables_map parse_options(const Arguments& arguments, const po::options_description& options,
                                const po::positional_options_description& positional) {
  using po::command_line_style::allow_guessing;
  using po::command_line_style::unix_style;
  po::variables_map values;
  try {
    po::store(po::command_line_parser(arguments)
                  .options(options)
                  .positional(positional)
                  .style(unix_style & ~allow_guessing)
                  .run(),
              values);
    po::notify(values);
  } catch (const po::unknown_option& error) {
    throw UsageError(misspelt(error.get_option_name(), options));
  } catch (const po::too_many_positional_options_error&) {
    throw UsageError("too many arguments");
  } catch (const po::error& error) {
    throw UsageError(error.what());
  }
  return values;
}

po::options_description source_options() {
  po::options_description options("Configuration");
  options.add_options()("config,c", po::value<std::string>()->value_name("FILE"),
                        "the JSON file (also: MILLRACE_CONFIG)");
  options.add_options()(
      "set,s", po::value<std::vector<std::string>>()->composing()->value_name("PATH=VALUE"),
      "sets one key; may be repeated");
  options.add_options()("mqtt-port", po::value<std::int64_t>()->value_name("N"),
                        "port of MQTT over TCP; 0: any free port");
  options.add_options()("ws-port", po::value<std::int64_t>()->value_name("N"),
                        "port of MQTT over WebSocket; 0: any free port");
  options.add_options()("http-port", po::value<std::int64_t>()->value_name("N"),
                        "port of metrics and health; 0: any free port");
  return options;
}

ConfigSources sources_of(const po::variables_map& values) {
  ConfigSources sources;
  const char* variable = std::getenv(config_file_variable);
  if (variable != nullptr) sources.file = variable;
  if (values.count("config") > 0) sources.file = values["config"].as<std::string>();
  if (values.count("config") > 0 && sources.file.empty()) throw UsageError("--config needs a file");
  sources.environment = process_environment();
  if (values.count("set") > 0) sources.sets = values["set"].as<std::vector<std::string>>();
  if (values.count("mqtt-port") > 0) sources.mqtt_port = port_of(values["mqtt-port"], "mqtt-port");
  if (values.count("ws-port") > 0) sources.ws_port = port_of(values["ws-port"], "ws-port");
  if (values.count("http-port") > 0) sources.http_port = port_of(values["http-port"], "http-port");
  return sources;
}

int run_cli(const Arguments& arguments) {
  const std::string first = arguments.empty() ? "serve" : arguments.front();
  if (first == "--version" || first == "-V") {
    std::cout << "millrace " << MILLRACE_VERSION << "\n";
    return 0;
  }
  if (first == "--help" || first == "-h" || first == "help") {
    std::cout << usage;
    return 0;
  }
  if (first.starts_with("-")) return run_serve(arguments);
  const Arguments rest(arguments.begin() + (arguments.empty() ? 0 : 1), arguments.end());
  if (first == "serve") return run_serve(rest);
  if (first == "check") return run_check(rest);
  if (first == "passwd") return run_passwd(rest);
  if (first == "store") return run_store(rest);
  if (first == "tap") return run_tap(rest);
  if (first == "pub") return run_pub(rest);
  if (first == "import") return run_import(rest);
  if (first == "top") return run_top(rest);
  if (first == "clients") return run_clients(rest);
  if (first == "topics") return run_topics(rest);
  if (first == "kick") return run_kick(rest);
  if (first == "publish") return run_publish(rest);
  if (first == "trace") return run_trace(rest);
  throw UsageError("unknown command \"" + first + "\"" +
                   suggestion(first, {"serve", "check", "passwd", "store", "tap", "pub", "top",
                                      "clients", "topics", "kick", "publish", "trace", "import"}));
}

}  // namespace millrace::server
