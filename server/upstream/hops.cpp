#include "server/upstream/hops.hpp"

#include <cassert>

#include "protocol/properties.hpp"

namespace millrace::server {

namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

void put_text(std::string_view text, std::vector<std::uint8_t>& out) {
  out.push_back(static_cast<std::uint8_t>(text.size() >> 8));
  out.push_back(static_cast<std::uint8_t>(text.size()));
  out.insert(out.end(), text.begin(), text.end());
}

}  // namespace

std::uint32_t hops_of(std::span<const std::uint8_t> properties) {
  const auto value = protocol::find_user_property(properties, hops_property);
  if (!value) return 0;
  if (value->size() != 2 || !is_digit((*value)[0]) || !is_digit((*value)[1])) return hops_limit;
  return static_cast<std::uint32_t>(10 * ((*value)[0] - '0') + ((*value)[1] - '0'));
}

protocol::RawProperties with_one_more_hop(const protocol::RawProperties& properties,
                                          std::vector<std::uint8_t>& buffer) {
  buffer.assign(properties.bytes.begin(), properties.bytes.end());
  protocol::RawProperties raised = properties;
  const std::uint32_t hops = hops_of(buffer) + 1;
  assert(hops <= hops_limit);
  if (const auto value = protocol::find_user_property(buffer, hops_property)) {
    auto* const digits =
        buffer.data() + (reinterpret_cast<const std::uint8_t*>(value->data()) - buffer.data());
    digits[0] = static_cast<std::uint8_t>('0' + hops / 10);
    digits[1] = static_cast<std::uint8_t>('0' + hops % 10);
  } else {
    buffer.push_back(static_cast<std::uint8_t>(protocol::PropertyId::user_property));
    put_text(hops_property, buffer);
    put_text("01", buffer);
  }
  raised.bytes = buffer;
  return raised;
}

}  // namespace millrace::server
