// What `millrace tap` and `millrace pub` share: the options of a local client, and how it is
// parsed.
//
// Threads: main's alone.
#pragma once

#include <optional>
#include <string>

#include "server/cli/cli.hpp"

namespace millrace::server {

// Adds --help and --socket to `options`, and parses them with one positional `argument`, which is
// found under that name. Nothing if --help was asked for, and printed.
std::optional<boost::program_options::variables_map> parse_local_client(
    const Arguments& arguments, const std::string& usage, const std::string& argument,
    boost::program_options::options_description options);

std::string local_socket(const boost::program_options::variables_map& values);

}  // namespace millrace::server
