// How many links between brokers a message has crossed, in a user property that each link raises: in
// a ring of brokers a message goes round only so often.
//
// The number has two digits always, so that it is raised in place. A property that is not of this
// form was not written by a link: its message crosses no link any more, in case it runs in a ring.
//
// Threads: any; pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "protocol/publish.hpp"

namespace millrace::server {

inline constexpr std::string_view hops_property = "millrace-hops";
inline constexpr std::uint32_t hops_limit = 99;
// What one more property takes at most: itself, and more bytes for the lengths in front of it.
inline constexpr std::uint32_t hops_bytes_max = 26;

// 0: it has crossed none; hops_limit: it must not cross one more. `properties` of a decoded PUBLISH.
std::uint32_t hops_of(std::span<const std::uint8_t> properties);

// Properties with the count raised by one: what `properties` say, kept in `buffer`.
protocol::RawProperties with_one_more_hop(const protocol::RawProperties& properties,
                                          std::vector<std::uint8_t>& buffer);

}  // namespace millrace::server
