// Argon2id (RFC 9106): hashes of passwords that cost memory as well as time. The computation is
// libargon2's; the text is the one that its programs write:
//
//     $argon2id$v=19$m=19456,t=2,p=1$SALT$HASH        base64 without padding
//
// Pure; any thread. While a hash is computed it takes the memory that it names.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace millrace::server {

struct Argon2Hash {
  // OWASP's choice for servers: 19 MiB, two passes, one lane.
  static constexpr std::uint32_t memory_kib_default = 19 * 1024;
  static constexpr std::uint32_t passes_default = 2;
  // What a file may ask for of each login.
  static constexpr std::uint32_t memory_kib_max = 1024 * 1024;
  static constexpr std::uint32_t passes_max = 100;
  static constexpr std::uint32_t lanes_max = 16;

  std::uint32_t memory_kib = memory_kib_default;
  std::uint32_t passes = passes_default;
  std::uint32_t lanes = 1;
  std::string salt;
  std::string hash;

  static Argon2Hash make(std::string_view password);
  static std::optional<Argon2Hash> parse(std::string_view text);
  std::string to_string() const;
  // In a time that depends on the settings alone. False, too, if there is not that much memory.
  bool matches(std::string_view password) const;
  // In the time that matches() takes; for comparisons.
  std::uint64_t cost() const { return std::uint64_t{memory_kib} * passes; }
};

}  // namespace millrace::server
