// What passwords need of OpenSSL: hashes, derived keys, random bytes, base64. Pure but for
// random_bytes(); any thread. Bytes are kept in strings, as everywhere in protocol/.
//
// Failures of the library itself (no memory, no random numbers) throw: with valid arguments nothing
// else is left to fail.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace millrace::server {

// sha1 only where a protocol asks for it and nothing depends on its strength: a WebSocket.
enum class Digest : std::uint8_t { sha1, sha256, sha512 };

std::string random_bytes(std::size_t count);
std::string digest(Digest digest, std::string_view text);
std::string hmac(Digest digest, std::string_view key, std::string_view text);
// PBKDF2 (RFC 8018) with HMAC; as many bytes as the digest has. `iterations` HMACs: slow on
// purpose.
std::string derive_key(Digest digest, std::string_view password, std::string_view salt,
                       std::uint32_t iterations);
// In a time that depends on the lengths alone.
bool equal_secrets(std::string_view left, std::string_view right);

// RFC 4648, section 4: with padding, without line ends. Reading is strict; "" is the empty text.
std::string to_base64(std::string_view bytes);
std::optional<std::string> from_base64(std::string_view text);

}  // namespace millrace::server
