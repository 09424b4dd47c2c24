// Reading and rewriting a small file that other programs read: the files of users.
//
// Threads: main's alone.
#pragma once

#include <cstdint>
#include <string>

namespace millrace::server {

// Empty if there is no such file yet. Throws std::runtime_error.
std::string read_file_text(const std::string& file);

// Gives the file this text. Whoever reads it meanwhile sees the old text or the new one, whole;
// owner and mode stay, and a symbolic link stays one: the file that it points to is replaced.
//
// Where a file cannot be replaced (it is a mount of its own, has other names, or stands in a folder
// that may not be written) it is rewritten in place instead, as mosquitto_passwd always does, and
// the result says so: a reader could then have seen half of it. Throws std::runtime_error.
enum class Rewritten : std::uint8_t { as_one_step, in_place };
Rewritten replace_file(const std::string& file, const std::string& text);

}  // namespace millrace::server
