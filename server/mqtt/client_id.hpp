// Client identifiers for clients that bring none. Any thread.
#pragma once

#include <string>

namespace millrace::server {

// "mr-" and 128 random bits from the system's generator, as letters and digits.
std::string random_client_id();

}  // namespace millrace::server
