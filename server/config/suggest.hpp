// "Did you mean ...?": the nearest of some words to a misspelt one. Pure; any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::server {

// Edits (insert, delete, replace, swap neighbours) that turn one word into the other.
std::size_t edit_distance(std::string_view a, std::string_view b);

// The nearest candidate, or an empty string if none is near enough to be meant.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

// "; did you mean \"queue.bytes_max\"?", or nothing.
std::string suggestion(std::string_view word, const std::vector<std::string>& candidates);

// For "256 MB" and the like: "; did you mean 256000000?". Else nothing.
std::string size_suggestion(std::string_view text);

}  // namespace millrace::server
