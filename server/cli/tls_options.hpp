// TLS for the subcommands that ask a running server over HTTP: their options, and what is said of a
// connection that fails. The server's chain and its name are always verified.
//
// Threads: main's alone.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <boost/program_options/options_description.hpp>
#include <boost/program_options/variables_map.hpp>
#include <boost/system/error_code.hpp>
#include <memory>
#include <string>

#include "server/config/http_url.hpp"

namespace millrace::server {

// --ca-file, --cert-file, --key-file and --key-password-file.
void add_tls_options(boost::program_options::options_description& options);
bool has_tls_options(const boost::program_options::variables_map& values);

// For a server at that URL; null if that is http://, with which the options are a UsageError. Throws
// std::runtime_error if a file cannot be used; it names the option.
std::shared_ptr<boost::asio::ssl::context> client_tls(
    const HttpUrl& url, const boost::program_options::variables_map& values);

// Why a connection inside TLS ended with `error`, and which option may help.
std::string tls_failure(const SSL* ssl, const HttpUrl& url, const boost::system::error_code& error);

}  // namespace millrace::server
