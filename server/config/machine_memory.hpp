// How much memory this process may use: that of the machine, or of the control group that it is in,
// if that is less.
//
// Threads: any; reads files.
#pragma once

#include <cstdint>
#include <string>

namespace millrace::server {

// `root`: where /proc and /sys are, for tests.
std::uint64_t machine_memory_bytes(const std::string& root = "");

}  // namespace millrace::server
