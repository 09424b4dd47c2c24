// Files of users, one `user:secret` a line, as mosquitto writes them: empty lines and those that
// begin with "#" are skipped. What a secret looks like is the affair of passwd.hpp and scram.hpp.
// Pure; any thread.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::server {

inline constexpr std::size_t user_name_bytes_max = 65'535;

// The next part of "a$b$c", up to the separator; `rest` is what comes behind it.
std::string_view take_part(std::string_view& rest, char separator);

// Calls `take` with each user and secret; what it answers is what is wrong with the line (empty:
// nothing). Faults are added to `faults`, each with its line's number.
void for_each_user(
    std::string_view text, std::vector<std::string>& faults,
    const std::function<std::string(std::string_view user, std::string_view secret)>& take);

// What is wrong with a line whose user had one before.
std::string user_stands_twice(std::string_view user);

// A user name that a line can hold gives ""; else why not.
std::string user_name_fault(std::string_view user);

// Edits of a file's text; comments and other users' lines stay as they are.
std::string with_user(std::string_view text, std::string_view user, std::string_view secret);
bool without_user(std::string& text, std::string_view user);  // false: there was none

}  // namespace millrace::server
