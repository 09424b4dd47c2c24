#include "server/net/forwarded_for.hpp"

#include "server/config/config.hpp"

namespace millrace::server {

std::string forwarded_client(const std::string& peer, std::string_view forwarded,
                             const std::vector<AddressRange>& proxies) {
  std::string client = peer;
  while (any_contains(proxies, client) && !forwarded.empty()) {
    const auto comma = forwarded.rfind(',');
    std::string_view last =
        comma == std::string_view::npos ? forwarded : forwarded.substr(comma + 1);
    forwarded = forwarded.substr(0, comma == std::string_view::npos ? 0 : comma);
    const auto first = last.find_first_not_of(" \t");
    last = first == std::string_view::npos
               ? std::string_view()
               : last.substr(first, last.find_last_not_of(" \t") + 1 - first);
    // No address (`unknown`, a name): the proxy that appended it counts as the client.
    const std::string address(last);
    if (!is_address(address)) break;
    client = address;
  }
  return client;
}

}  // namespace millrace::server
