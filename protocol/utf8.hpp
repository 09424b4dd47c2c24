// UTF-8 as MQTT wants it: well formed, no surrogates, no U+0000. Pure; any thread.
// Source: MQTT 5.0 section 1.5.4 (3.1.1: 1.5.3); the table of well-formed sequences is Unicode's,
// 3-7.
#pragma once

#include <string_view>

namespace millrace::protocol {

// [MQTT-1.5.4-1] (3.1.1: [MQTT-1.5.3-1]) and [MQTT-1.5.4-2] ([MQTT-1.5.3-2]). U+FEFF is an ordinary
// character [MQTT-1.5.4-3]; control and non-characters, which MQTT only advises against, are
// accepted.
[[nodiscard]] bool valid_utf8(std::string_view text) noexcept;

// What Payload Format Indicator 1 promises: the same, but U+0000 is a character like any other.
[[nodiscard]] bool valid_utf8_payload(std::string_view payload) noexcept;

// One pass over the topic name of a PUBLISH: valid_utf8, and neither '+' nor '#' in it. Does not
// look at emptiness or length. [MQTT-3.3.2-1], [MQTT-3.3.2-2]
enum class TopicBytes : unsigned char { Valid, HasWildcard, BadUtf8 };
[[nodiscard]] TopicBytes check_topic_bytes(std::string_view topic) noexcept;

}  // namespace millrace::protocol
