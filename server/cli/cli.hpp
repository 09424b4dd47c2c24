// The command line: `millrace [serve|check|top|...] ...`. One function a subcommand, each with its
// --help; what is wrong with the arguments is a UsageError, which main() prints as one line.
//
// Threads: main's alone.
#pragma once

#include <boost/program_options/options_description.hpp>
#include <boost/program_options/positional_options.hpp>
#include <boost/program_options/variables_map.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "server/config/config.hpp"

namespace millrace::server {

// The arguments are wrong; exit code 2.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

using Arguments = std::vector<std::string>;

// Runs the program; the result is the exit code. Throws what start-up throws.
int run_cli(const Arguments& arguments);

int run_serve(const Arguments& arguments);
int run_check(const Arguments& arguments);
int run_passwd(const Arguments& arguments);
int run_store(const Arguments& arguments);
int run_tap(const Arguments& arguments);
int run_pub(const Arguments& arguments);
int run_import(const Arguments& arguments);
int run_top(const Arguments& arguments);
int run_clients(const Arguments& arguments);
int run_topics(const Arguments& arguments);
int run_kick(const Arguments& arguments);
int run_publish(const Arguments& arguments);
int run_trace(const Arguments& arguments);

// --- What the subcommands share ---

// Parses strictly; a misspelt option is answered by the nearest one.
boost::program_options::variables_map parse_options(
    const Arguments& arguments, const boost::program_options::options_description& options,
    const boost::program_options::positional_options_description& positional = {});

// --config, --set and the ports; and what they ask for.
boost::program_options::options_description source_options();
ConfigSources sources_of(const boost::program_options::variables_map& values);

// GET of a URL, https:// with the options of tls_options.hpp: 0 and silence if the answer is 200, else
// 1 and one line.
int check_health(const std::string& url, unsigned timeout_seconds,
                 const boost::program_options::variables_map& values);
std::string health_url(const Config& config);

}  // namespace millrace::server
