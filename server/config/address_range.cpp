#include "server/config/address_range.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

namespace millrace::server {

namespace {

constexpr unsigned v4_prefix_bits = 96;  // of ::ffff:0:0/96
constexpr unsigned address_bits = 128;

// Whether the bits from `from` on are zero.
bool is_zero_from(const std::array<std::uint8_t, 16>& bytes, unsigned from) {
  for (unsigned bit = from; bit < address_bits; ++bit) {
    if ((bytes[bit / 8] >> (7 - bit % 8) & 1) != 0) return false;
  }
  return true;
}

}  // namespace

std::optional<AddressRange::Bytes> AddressRange::bytes_of(std::string_view address, bool& is_v4) {
  const std::string text(address.substr(0, INET6_ADDRSTRLEN));
  Bytes bytes{};
  is_v4 = inet_pton(AF_INET, text.c_str(), bytes.data() + 12) == 1;
  if (is_v4) {
    bytes[10] = bytes[11] = 0xff;
    return bytes;
  }
  if (inet_pton(AF_INET6, text.c_str(), bytes.data()) != 1) return std::nullopt;
  return bytes;
}

std::optional<AddressRange> AddressRange::parse(std::string_view text) {
  const auto slash = std::min(text.find('/'), text.size());
  bool is_v4 = false;
  const auto bytes = bytes_of(text.substr(0, slash), is_v4);
  if (!bytes) return std::nullopt;
  AddressRange range;
  range.bytes_ = *bytes;
  range.length_ = address_bits;
  if (slash == text.size()) return range;
  unsigned length = 0;
  const std::string_view digits = text.substr(slash + 1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
  const bool is_number = error == std::errc() && end == digits.data() + digits.size();
  if (!is_number || length > (is_v4 ? address_bits - v4_prefix_bits : address_bits)) {
    return std::nullopt;
  }
  range.length_ = is_v4 ? v4_prefix_bits + length : length;
  if (!is_zero_from(range.bytes_, range.length_)) return std::nullopt;
  return range;
}

bool AddressRange::contains(std::string_view address) const {
  bool is_v4 = false;
  // A link-local peer comes with its interface: "fe80::1%eth0".
  const auto bytes = bytes_of(address.substr(0, address.find('%')), is_v4);
  if (!bytes) return false;
  const unsigned whole = length_ / 8, rest = length_ % 8;
  if (!std::equal(bytes->begin(), bytes->begin() + whole, bytes_.begin())) return false;
  if (rest == 0) return true;
  return (((*bytes)[whole] ^ bytes_[whole]) >> (8 - rest)) == 0;
}

std::vector<AddressRange> address_ranges(const std::vector<std::string>& texts) {
  std::vector<AddressRange> ranges;
  for (const std::string& text : texts) {
    if (const auto range = AddressRange::parse(text)) ranges.push_back(*range);
  }
  return ranges;
}

bool any_contains(const std::vector<AddressRange>& ranges, std::string_view address) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [&](const AddressRange& range) { return range.contains(address); });
}

}  // namespace millrace::server
