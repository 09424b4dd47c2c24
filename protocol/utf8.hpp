// UTF-8 as MQTT requires it: well formed, no surrogates, no U+0000. Pure; any thread.
// Source: MQTT 5.0 section 1.5.4 (3.1.1: 1.5.3); The Unicode Standard, table 3-7 (well-formed byte
// sequences).
#pragma once

#include <string_view>

namespace millrace::protocol {

// [MQTT-1.5.4-1] (3.1.1: [MQTT-1.5.3-1]) and [MQTT-1.5.4-2] ([MQTT-1.5.3-2]). U+FEFF is an ordinary
// character [MQTT-1.5.4-3]. Control characters and non-characters are accepted: MQTT only advises
// against them.
[[nodiscard]] bool valid_utf8(std::string_view text) noexcept;

// The check for a payload with Payload Format Indicator 1: the same, but U+0000 is allowed.
[[nodiscard]] bool valid_utf8_payload(std::string_view payload) noexcept;

// Checks the topic name of a PUBLISH in one pass: valid_utf8, and no '+' or '#'. Does not check
// that it is not empty, nor its length. [MQTT-3.3.2-1], [MQTT-3.3.2-2]
enum class TopicBytes : unsigned char { valid, has_wildcard, bad_utf8 };
[[nodiscard]] TopicBytes check_topic_bytes(std::string_view topic) noexcept;

}  // namespace millrace::protocol
