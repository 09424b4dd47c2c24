#include "server/net/proxy_header.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string>
#include <string_view>
#include <utility>

namespace millrace::server {

namespace {

using Status = ProxyHeader::Status;

constexpr std::string_view v1_begin = "PROXY ";
constexpr std::size_t v1_bytes_max = 107;  // with the line's end
constexpr std::array<std::uint8_t, 12> v2_begin = {0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D,
                                                   0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A};
constexpr std::size_t v2_head_bytes = 16;

// The next word, up to one space or the end.
std::string_view take_word(std::string_view& rest) {
  const auto end = std::min(rest.find(' '), rest.size());
  const std::string_view word = rest.substr(0, end);
  rest.remove_prefix(std::min(rest.size(), end + 1));
  return word;
}

// As everybody else writes it, so that rules, limits and the log see one form; nothing: it is none.
std::optional<std::string> rewritten(int family, std::string_view text) {
  std::array<std::uint8_t, 16> bytes{};
  if (inet_pton(family, std::string(text).c_str(), bytes.data()) != 1) return std::nullopt;
  std::array<char, INET6_ADDRSTRLEN> written{};
  return inet_ntop(family, bytes.data(), written.data(), written.size());
}

std::optional<int> port_of(std::string_view text) {
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  const bool is_number = error == std::errc() && end == text.data() + text.size();
  if (!is_number || port > 65'535 || (text.size() > 1 && text.front() == '0')) return std::nullopt;
  return static_cast<int>(port);
}

// "TCP4 192.0.2.1 192.0.2.2 56324 443", or "UNKNOWN" with anything behind it.
ProxyHeader parse_v1_line(std::string_view line, std::size_t bytes) {
  const std::string_view family = take_word(line);
  if (family == "UNKNOWN") return {Status::whole, bytes, std::nullopt};
  if (family != "TCP4" && family != "TCP6") return {};
  const int number = family == "TCP4" ? AF_INET : AF_INET6;
  auto source = rewritten(number, take_word(line));
  const auto target = rewritten(number, take_word(line));
  const auto source_port = port_of(take_word(line));
  const bool is_last = line.find(' ') == std::string_view::npos;
  const auto target_port = port_of(take_word(line));
  if (!source || !target || !source_port || !target_port || !is_last) return {};
  return {Status::whole, bytes, PeerAddress{std::move(*source), *source_port}};
}

ProxyHeader parse_v1(std::string_view text) {
  const auto end = text.substr(0, v1_bytes_max).find("\r\n");
  if (end != std::string_view::npos) {
    const std::string_view line = text.substr(v1_begin.size(), end - v1_begin.size());
    // A zero byte would end an address too early.
    if (line.find('\0') != std::string_view::npos) return {};
    return parse_v1_line(line, end + 2);
  }
  return {text.size() < v1_bytes_max ? Status::incomplete : Status::invalid, 0, std::nullopt};
}

PeerAddress address_of(int family, const std::uint8_t* address, const std::uint8_t* port) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(family, address, text.data(), text.size());
  return {text.data(), port[0] << 8 | port[1]};
}

ProxyHeader parse_v2(std::span<const std::uint8_t> received) {
  if (received.size() < v2_head_bytes) return {Status::incomplete, 0, std::nullopt};
  const unsigned version = received[12] >> 4, command = received[12] & 15;
  const std::size_t length = static_cast<std::size_t>(received[14] << 8 | received[15]);
  const std::size_t bytes = v2_head_bytes + length;
  if (version != 2 || command > 1 || bytes > proxy_header_bytes_max) return {};
  if (received.size() < bytes) return {Status::incomplete, 0, std::nullopt};
  ProxyHeader header{Status::whole, bytes, std::nullopt};
  if (command == 0) return header;  // LOCAL: the proxy's own, to see whether we live
  const auto* rest = received.data() + v2_head_bytes;
  constexpr std::uint8_t tcp4 = 0x11, tcp6 = 0x21;
  constexpr std::size_t tcp4_bytes = 12, tcp6_bytes = 36;  // two addresses, two ports
  if (received[13] == tcp4) {
    if (length < tcp4_bytes) return {};
    header.address = address_of(AF_INET, rest, rest + 8);
  }
  if (received[13] == tcp6) {
    if (length < tcp6_bytes) return {};
    header.address = address_of(AF_INET6, rest, rest + 32);
  }
  return header;  // of another family: it says nothing that is of use here
}

// Whether the one is how the other begins, as far as both go.
template <class Left, class Right>
bool begins_alike(const Left& left, const Right& right) {
  const auto common = static_cast<std::ptrdiff_t>(std::min(left.size(), right.size()));
  return std::equal(left.begin(), left.begin() + common, right.begin());
}

}  // namespace

ProxyHeader parse_proxy_header(std::span<const std::uint8_t> received) {
  const std::string_view text(reinterpret_cast<const char*>(received.data()), received.size());
  if (begins_alike(text, v1_begin)) {
    if (text.size() < v1_begin.size()) return {Status::incomplete, 0, std::nullopt};
    return parse_v1(text);
  }
  if (!begins_alike(received, v2_begin)) return {};
  return parse_v2(received);
}

}  // namespace millrace::server
