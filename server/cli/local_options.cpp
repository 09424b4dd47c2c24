#include "server/cli/local_options.hpp"

#include <iostream>
#include <vector>

#include "core/shm/include/millrace/local.hpp"

namespace millrace::server {

namespace po = boost::program_options;

std::optional<po::variables_map> parse_local_client(const Arguments& arguments,
                                                    const std::string& usage,
                                                    const std::string& argument, int count_max,
                                                    po::options_description options) {
  options.add_options()("help,h", "print this text");
  options.add_options()("socket", po::value<std::string>()->default_value(local::default_socket),
                        "the Unix socket of the server (its key local.socket)");
  po::options_description all;
  all.add(options).add_options()(argument.c_str(), po::value<std::vector<std::string>>(), "");
  po::positional_options_description positional;
  positional.add(argument.c_str(), count_max);
  po::variables_map values = parse_options(arguments, all, positional);
  if (values.count("help") == 0) return values;
  std::cout << "usage: " << usage << "\n\n" << options;
  return std::nullopt;
}

std::string local_socket(const po::variables_map& values) {
  return values["socket"].as<std::string>();
}

}  // namespace millrace::server
