// The user name in a client's certificate. Pure; any thread.
#pragma once

#include <openssl/x509.h>

#include <string>

#include "server/config/config.hpp"

namespace millrace::server {

// Empty: it has no such part, or one that is no name (a zero byte in it). `part` is not `none`.
std::string user_of_certificate(const X509* certificate, CertificateUser part);

}  // namespace millrace::server
