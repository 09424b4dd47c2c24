// json_field(): one value out of a JSON text, by JSON Pointer (RFC 6901), as the text that it is.
//
// One pass, without recursion and without memory of its own: the text comes from a publisher, who
// may nest it as deep as it is long. It reads no further than the value, and checks no more than it
// needs to find it: a text that is no JSON has some value there, or none. A name that is written
// with escapes is compared as it is written. Of members with the same name the first one counts.
//
// Pure; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace millrace::broker {

// "" or "/" and more; each `~` is followed by 0 or 1.
[[nodiscard]] bool is_json_pointer(std::string_view pointer) noexcept;

// Nothing: there is no such value. A string is given with its quotes.
[[nodiscard]] std::optional<std::string_view> json_field(std::string_view text,
                                                         std::string_view pointer) noexcept;

}  // namespace millrace::broker
