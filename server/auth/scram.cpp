#include "server/auth/scram.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

#include "server/auth/crypto.hpp"
#include "server/auth/user_file.hpp"

namespace millrace::server {

using protocol::ReasonCode;

namespace {

constexpr std::size_t key_bytes = 32;  // SHA-256
constexpr std::size_t salt_bytes = 16;
constexpr std::size_t salt_bytes_max = 1024;
constexpr std::size_t nonce_bytes = 18;       // 24 characters of base64
constexpr std::size_t nonce_bytes_max = 256;  // of a client
constexpr std::string_view keys_prefix = "SCRAM-SHA-256$";

std::string mac(std::string_view key, std::string_view text) {
  return hmac(Digest::sha256, key, text);
}

std::string exclusive_or(std::string left, std::string_view right) {
  std::transform(left.begin(), left.end(), right.begin(), left.begin(),
                 [](char a, char b) { return static_cast<char>(a ^ b); });
  return left;
}

// The value of "x=value" for that letter.
std::optional<std::string_view> attribute(std::string_view part, char letter) {
  if (part.size() < 2 || part[0] != letter || part[1] != '=') return std::nullopt;
  return part.substr(2);
}

// RFC 5802, section 5.1: "=2C" is a comma, "=3D" an equals sign, and no other "=" may stand.
std::optional<std::string> decode_name(std::string_view text) {
  std::string name;
  while (!text.empty()) {
    const bool escaped = text.front() == '=';
    if (escaped && !text.starts_with("=2C") && !text.starts_with("=3D")) return std::nullopt;
    name += !escaped ? text.front() : text[1] == '2' ? ',' : '=';
    text.remove_prefix(escaped ? 3 : 1);
  }
  if (name.empty()) return std::nullopt;
  return name;
}

// Printable ASCII without the comma, which splitting at commas has seen to.
bool valid_nonce(std::string_view nonce) {
  const auto printable = [](unsigned char c) { return c > 0x20 && c < 0x7f; };
  return !nonce.empty() && nonce.size() <= nonce_bytes_max &&
         std::all_of(nonce.begin(), nonce.end(), printable);
}

bool parse_number(std::string_view text, std::uint32_t& out) {
  const auto end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, out);
  return error == std::errc() && stop == end;
}

// What unknown users' salts are made from: the same for as long as the process runs, whatever
// becomes of the file, as a known user's salt is.
const std::string& process_secret() {
  static const std::string secret = random_bytes(key_bytes);
  return secret;
}

}  // namespace

// --- Keys ----------------------------------------------------------------------------------------

ScramKeys ScramKeys::derive(std::string_view password, std::string salt, std::uint32_t iterations) {
  const std::string salted = derive_key(Digest::sha256, password, salt, iterations);
  ScramKeys keys;
  keys.iterations = iterations;
  keys.salt = std::move(salt);
  keys.stored_key = digest(Digest::sha256, mac(salted, "Client Key"));
  keys.server_key = mac(salted, "Server Key");
  return keys;
}

ScramKeys ScramKeys::make(std::string_view password, std::uint32_t iterations) {
  return derive(password, random_bytes(salt_bytes), iterations);
}

std::string ScramKeys::parse(std::string_view text, ScramKeys& out) {
  if (!text.starts_with(keys_prefix)) {
    return "not keys of SCRAM-SHA-256; make them with `millrace passwd --scram`";
  }
  text.remove_prefix(keys_prefix.size());
  ScramKeys parsed;
  if (!parse_number(take_part(text, ':'), parsed.iterations)) return "has no number of iterations";
  if (parsed.iterations < scram_iterations_min || parsed.iterations > scram_iterations_max) {
    return "the iterations must be 4,096 to 10,000,000";
  }
  auto salt = from_base64(take_part(text, '$'));
  auto stored_key = from_base64(take_part(text, ':'));
  auto server_key = from_base64(text);
  if (!salt || salt->empty() || salt->size() > salt_bytes_max) return "the salt cannot be used";
  if (!stored_key || stored_key->size() != key_bytes || !server_key ||
      server_key->size() != key_bytes) {
    return "the two keys must be 32 bytes each, in base64";
  }
  parsed.salt = std::move(*salt);
  parsed.stored_key = std::move(*stored_key);
  parsed.server_key = std::move(*server_key);
  out = std::move(parsed);
  return "";
}

std::string ScramKeys::to_string() const {
  return std::string(keys_prefix) + std::to_string(iterations) + ":" + to_base64(salt) + "$" +
         to_base64(stored_key) + ":" + to_base64(server_key);
}

std::string scram_password_fault(std::string_view password) {
  const auto printable = [](unsigned char c) { return c >= 0x20 && c < 0x7f; };
  if (std::all_of(password.begin(), password.end(), printable)) return "";
  return "must be printable ASCII: of others, clients make different bytes (SASLprep)";
}

ScramFile ScramFile::parse(std::string_view text, std::vector<std::string>& faults) {
  ScramFile file;
  std::uint32_t iterations_max = 0;
  for_each_user(text, faults, [&](std::string_view user, std::string_view secret) -> std::string {
    ScramKeys keys;
    if (std::string fault = ScramKeys::parse(secret, keys); !fault.empty()) return fault;
    iterations_max = std::max(iterations_max, keys.iterations);
    if (file.users_.emplace(user, std::move(keys)).second) return "";
    return user_stands_twice(user);
  });
  if (iterations_max > 0) file.iterations_max_ = iterations_max;
  return file;
}

ScramKeys ScramFile::keys_of(std::string_view user) const {
  if (const auto found = users_.find(user); found != users_.end()) return found->second;
  ScramKeys nobody;
  nobody.iterations = iterations_max_;
  nobody.salt = mac(process_secret(), std::string("salt ").append(user)).substr(0, salt_bytes);
  // No ClientKey is known whose hash this would be.
  nobody.stored_key = mac(process_secret(), std::string("key ").append(user));
  nobody.server_key = nobody.stored_key;
  return nobody;
}

// --- The exchange --------------------------------------------------------------------------------

protocol::Result<ScramFirst> parse_scram_first(std::string_view message) {
  ScramFirst first;
  std::string_view rest = message;
  const std::string_view binding = take_part(rest, ',');
  // "y": the client could bind and believes that we cannot, which is true; "p=...": it insists.
  if (binding != "n" && binding != "y") return ReasonCode::not_authorized;
  const std::string_view for_whom = take_part(rest, ',');
  first.gs2_header = std::string(message.substr(0, message.size() - rest.size()));
  first.bare = std::string(rest);
  const auto name = attribute(take_part(rest, ','), 'n');  // "m=...", an extension, is not one
  const auto user = name ? decode_name(*name) : std::nullopt;
  const auto nonce = attribute(take_part(rest, ','), 'r');
  if (!user || !nonce || !valid_nonce(*nonce)) return ReasonCode::not_authorized;
  if (!for_whom.empty()) {
    const auto other = attribute(for_whom, 'a');
    if (!other || decode_name(*other) != user) return ReasonCode::not_authorized;
  }
  first.user = *user;
  first.nonce = std::string(*nonce);
  return first;
}

ScramExchange::ScramExchange(ScramFirst first, ScramKeys keys, std::string_view nonce)
    : first_(std::move(first)), keys_(std::move(keys)), nonce_(first_.nonce) {
  nonce_ += nonce;
  challenge_ =
      "r=" + nonce_ + ",s=" + to_base64(keys_.salt) + ",i=" + std::to_string(keys_.iterations);
}

protocol::Result<std::string> ScramExchange::finish(std::string_view message) const {
  const auto last = message.rfind(",p=");
  if (last == std::string_view::npos) return ReasonCode::not_authorized;
  const std::string_view without_proof = message.substr(0, last);
  const auto proof = from_base64(message.substr(last + 3));
  std::string_view rest = without_proof;
  const auto binding = attribute(take_part(rest, ','), 'c');
  const auto nonce = attribute(take_part(rest, ','), 'r');
  if (binding != to_base64(first_.gs2_header) || nonce != nonce_) return ReasonCode::not_authorized;
  if (!proof || proof->size() != key_bytes) return ReasonCode::not_authorized;

  const std::string signed_text = first_.bare + "," + challenge_ + "," + std::string(without_proof);
  const std::string client_key = exclusive_or(*proof, mac(keys_.stored_key, signed_text));
  if (!equal_secrets(digest(Digest::sha256, client_key), keys_.stored_key)) {
    return ReasonCode::not_authorized;
  }
  return "v=" + to_base64(mac(keys_.server_key, signed_text));
}

std::string scram_nonce() {
  return to_base64(random_bytes(nonce_bytes));
}

}  // namespace millrace::server
