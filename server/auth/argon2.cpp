#include "server/auth/argon2.hpp"

#include <argon2.h>

#include <charconv>
#include <new>

#include "server/auth/crypto.hpp"
#include "server/auth/user_file.hpp"

namespace millrace::server {

namespace {

constexpr std::string_view prefix = "$argon2id$v=19$";
constexpr std::size_t salt_bytes = 16;
constexpr std::size_t salt_bytes_min = 8, salt_bytes_max = 64;
constexpr std::size_t hash_bytes = 32;
constexpr std::size_t hash_bytes_min = 16, hash_bytes_max = 64;

// "m=19456": the number behind that letter, within its limits.
bool take_number(std::string_view& rest, char letter, std::uint32_t max, std::uint32_t& number) {
  const std::string_view part = take_part(rest, ',');
  if (part.size() < 3 || part[0] != letter || part[1] != '=') return false;
  const auto [end, error] = std::from_chars(part.data() + 2, part.data() + part.size(), number);
  return error == std::errc() && end == part.data() + part.size() && number >= 1 && number <= max;
}

std::optional<std::string> from_bare_base64(std::string_view text) {
  if (text.find('=') != std::string_view::npos) return std::nullopt;
  std::string padded(text);
  padded.append((4 - padded.size() % 4) % 4, '=');
  return from_base64(padded);
}

std::string to_bare_base64(std::string_view bytes) {
  std::string text = to_base64(bytes);
  while (text.ends_with('=')) text.pop_back();
  return text;
}

// Empty: there is not that much memory.
std::string compute(const Argon2Hash& how, std::string_view password, std::size_t bytes) {
  std::string hash(bytes, '\0');
  std::string secret(password), salt = how.salt;
  argon2_context context{};
  context.out = reinterpret_cast<std::uint8_t*>(hash.data());
  context.outlen = static_cast<std::uint32_t>(hash.size());
  context.pwd = reinterpret_cast<std::uint8_t*>(secret.data());
  context.pwdlen = static_cast<std::uint32_t>(secret.size());
  context.salt = reinterpret_cast<std::uint8_t*>(salt.data());
  context.saltlen = static_cast<std::uint32_t>(salt.size());
  context.t_cost = how.passes;
  context.m_cost = how.memory_kib;
  context.lanes = how.lanes;
  context.threads = 1;  // the worker's
  context.version = ARGON2_VERSION_13;
  context.flags = ARGON2_FLAG_CLEAR_PASSWORD;
  if (argon2id_ctx(&context) != ARGON2_OK) return {};
  return hash;
}

}  // namespace

Argon2Hash Argon2Hash::make(std::string_view password) {
  Argon2Hash made;
  made.salt = random_bytes(salt_bytes);
  made.hash = compute(made, password, hash_bytes);
  if (made.hash.empty()) throw std::bad_alloc();
  return made;
}

std::optional<Argon2Hash> Argon2Hash::parse(std::string_view text) {
  if (!text.starts_with(prefix)) return std::nullopt;
  text.remove_prefix(prefix.size());
  Argon2Hash parsed;
  std::string_view numbers = take_part(text, '$');
  if (!take_number(numbers, 'm', memory_kib_max, parsed.memory_kib) ||
      !take_number(numbers, 't', passes_max, parsed.passes) ||
      !take_number(numbers, 'p', lanes_max, parsed.lanes) || !numbers.empty() ||
      parsed.memory_kib < 8 * parsed.lanes) {
    return std::nullopt;
  }
  auto salt = from_bare_base64(take_part(text, '$'));
  auto hash = from_bare_base64(text);
  if (!salt || salt->size() < salt_bytes_min || salt->size() > salt_bytes_max || !hash ||
      hash->size() < hash_bytes_min || hash->size() > hash_bytes_max) {
    return std::nullopt;
  }
  parsed.salt = std::move(*salt);
  parsed.hash = std::move(*hash);
  return parsed;
}

std::string Argon2Hash::to_string() const {
  return std::string(prefix) + "m=" + std::to_string(memory_kib) + ",t=" + std::to_string(passes) +
         ",p=" + std::to_string(lanes) + "$" + to_bare_base64(salt) + "$" + to_bare_base64(hash);
}

bool Argon2Hash::matches(std::string_view password) const {
  const std::string computed = compute(*this, password, hash.size());
  return !computed.empty() && equal_secrets(hash, computed);
}

}  // namespace millrace::server
