// Whose request an HTTP proxy passes on: the field X-Forwarded-For, to which each proxy appends the
// address that it was asked from. Pure; any thread.
//
// Anybody can send the field. So it is read from its end, and only as long as the address that said
// it is a proxy of ours.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/config/address_range.hpp"

namespace millrace::server {

// `peer`: who sent the request. `forwarded`: all such fields, in order, with commas between.
std::string forwarded_client(const std::string& peer, std::string_view forwarded,
                             const std::vector<AddressRange>& proxies);

}  // namespace millrace::server
