// What MQTT topics are called as subjects of NATS, and back: as nats-server's own MQTT names them, so
// that its MQTT clients and those here mean the same.
//
//     a/b   a.b         a//b  a./.b       /a    /.a       a.b   a//b
//
// A level that is empty is `/`, and a dot in a level `//`. What no subject may contain, or what would be
// a wildcard there, is escaped: `%`, `*`, `>`, spaces and control characters as %25, %2A, %3E, %20, ...
// So each topic has a subject of its own, from which it comes back as it was, and no topic is a
// wildcard, or more than one argument, to a NATS server.
//
// Names below `$` are NATS's own (`$JS.API...` changes streams, `$SYS` is the system's): no topic has a
// name there.
//
// Threads: any; pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::server {

enum class NatsName : std::uint8_t {
  mapped,
  reserved,  // it begins with `$`
  too_long,  // as a subject
  no_topic,  // no topic has this subject
};

// A NATS server closes the connection at a line of more than 4,096 bytes, by default. The rest is for
// a reply subject and the sizes.
inline constexpr std::size_t subject_bytes_max = 4'000;

// A valid topic name. `subject` is replaced if it is mapped.
NatsName to_subject(std::string_view topic, std::string& subject);

// Any bytes. Escapes that to_subject() does not write are taken as they are.
NatsName to_topic(std::string_view subject, std::string& topic);

// What to subscribe to for a valid topic filter: `a/#` covers `a` too, so it is two subjects. No
// topic is covered by both. Those of a name that is reserved or too long: none.
std::vector<std::string> subjects_of(std::string_view filter);

}  // namespace millrace::server
