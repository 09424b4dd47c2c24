// The command line of `millrace tap` and `millrace pub`: what both have in common.
//
// Thread contract: the main thread.
#pragma once

#include <optional>
#include <string>

#include "server/cli/cli.hpp"

namespace millrace::server {

// Adds --help and --socket to `options`, and parses them with at most `count_max` positional
// arguments (-1: any number) under the name `argument`, as std::vector<std::string>. Nothing if
// --help was given; then the text was printed.
std::optional<boost::program_options::variables_map> parse_local_client(
    const Arguments& arguments, const std::string& usage, const std::string& argument,
    int count_max, boost::program_options::options_description options);

std::string local_socket(const boost::program_options::variables_map& values);

}  // namespace millrace::server
