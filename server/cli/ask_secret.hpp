// Asks for a password on the terminal, which does not show it; or reads a line of standard input.
//
// Threads: main's alone.
#pragma once

#include <string>

namespace millrace::server {

// Throws UsageError if there is none.
std::string ask_secret(const char* prompt);

}  // namespace millrace::server
