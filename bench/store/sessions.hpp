// A server's whole state: sessions with two subscriptions each, and as many retained messages, read
// by the processor as at the start, and written as at the end with store.durability `off`.
#pragma once

#include <cstdint>
#include <string>

namespace millrace::bench {

// Makes a store of so many.
void make_sessions(const std::string& folder, std::uint64_t count);
// Reads it, prints time and memory, and writes it as a whole.
void recover_sessions(const std::string& folder);

}  // namespace millrace::bench
