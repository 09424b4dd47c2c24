// AddressRange: IP addresses as rules name them: "10.1.2.3", "10.0.0.0/8", "fd00::/8". Pure; any
// thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::server {

class AddressRange {
 public:
  // Nothing: it is no address, its length does not fit it, or bits behind the length are set.
  static std::optional<AddressRange> parse(std::string_view text);

  // IPv4 addresses are the same when they are written as IPv6 (`::ffff:10.1.2.3`).
  bool contains(std::string_view address) const;

 private:
  using Bytes = std::array<std::uint8_t, 16>;

  static std::optional<Bytes> bytes_of(std::string_view address, bool& is_v4);

  Bytes bytes_{};
  unsigned length_ = 0;  // of the prefix, in bits of the IPv6 form
};

// Of texts that are valid.
std::vector<AddressRange> address_ranges(const std::vector<std::string>& texts);
bool any_contains(const std::vector<AddressRange>& ranges, std::string_view address);

}  // namespace millrace::server
