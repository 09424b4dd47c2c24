#include "server/passwd.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <charconv>
#include <new>
#include <stdexcept>

namespace millrace::server {

namespace {

constexpr std::size_t hash_bytes = 64;  // SHA512
constexpr std::size_t salt_bytes = 12;  // mosquitto's
constexpr std::size_t salt_bytes_max = 1024;

std::string to_base64(const std::vector<unsigned char>& bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), bytes.data(),
                                     static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(length));
  return text;
}

bool from_base64(std::string_view text, std::vector<unsigned char>& bytes) {
  if (text.empty() || text.size() % 4 != 0 || text.size() > 4 * salt_bytes_max) return false;
  bytes.resize(text.size() / 4 * 3);
  const int length =
      EVP_DecodeBlock(bytes.data(), reinterpret_cast<const unsigned char*>(text.data()),
                      static_cast<int>(text.size()));
  if (length < 0) return false;
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  bytes.resize(static_cast<std::size_t>(length) - padding);  // the padding was decoded as zeros
  return true;
}

std::vector<unsigned char> derive(std::string_view password, const std::vector<unsigned char>& salt,
                                  std::uint32_t iterations) {
  std::vector<unsigned char> hash(hash_bytes);
  if (PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()), salt.data(),
                        static_cast<int>(salt.size()), static_cast<int>(iterations), EVP_sha512(),
                        static_cast<int>(hash.size()), hash.data()) != 1) {
    throw std::bad_alloc();  // the arguments are valid: nothing else is left to fail
  }
  return hash;
}

std::vector<unsigned char> digest(std::string_view password,
                                  const std::vector<unsigned char>& salt) {
  std::string joined(password);
  joined.append(reinterpret_cast<const char*>(salt.data()), salt.size());
  std::vector<unsigned char> hash(hash_bytes);
  if (EVP_Digest(joined.data(), joined.size(), hash.data(), nullptr, EVP_sha512(), nullptr) != 1) {
    throw std::bad_alloc();
  }
  return hash;
}

// The next part of "a$b$c", up to the separator.
std::string_view take_part(std::string_view& rest, char separator) {
  const auto end = rest.find(separator);
  const std::string_view part = rest.substr(0, end);
  rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  return part;
}

std::string_view without_line_end(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

bool is_line_of(std::string_view line, std::string_view user) {
  return line.size() > user.size() && line.starts_with(user) && line[user.size()] == ':';
}

}  // namespace

PasswordHash PasswordHash::make(std::string_view password, std::uint32_t iterations) {
  PasswordHash made;
  made.iterations = iterations;
  made.salt.resize(salt_bytes);
  if (RAND_bytes(made.salt.data(), static_cast<int>(made.salt.size())) != 1) {
    throw std::runtime_error("the system gave no random numbers for a salt");
  }
  made.hash = derive(password, made.salt, iterations);
  return made;
}

bool PasswordHash::parse(std::string_view text, PasswordHash& out) {
  PasswordHash parsed;
  if (text.starts_with("$7$")) {
    text.remove_prefix(3);
    const std::string_view number = take_part(text, '$');
    const auto end = number.data() + number.size();
    const auto [stop, error] = std::from_chars(number.data(), end, parsed.iterations);
    if (error != std::errc() || stop != end || parsed.iterations == 0 ||
        parsed.iterations > password_iterations_max) {
      return false;
    }
  } else if (text.starts_with("$6$")) {
    text.remove_prefix(3);
  } else {
    return false;
  }
  const std::string_view salt = take_part(text, '$');
  if (!from_base64(salt, parsed.salt) || !from_base64(text, parsed.hash)) return false;
  if (parsed.hash.size() != hash_bytes) return false;
  out = std::move(parsed);
  return true;
}

std::string PasswordHash::to_string() const {
  const std::string tail = to_base64(salt) + "$" + to_base64(hash);
  return iterations == 0 ? "$6$" + tail : "$7$" + std::to_string(iterations) + "$" + tail;
}

bool PasswordHash::matches(std::string_view password) const {
  const auto asked = iterations == 0 ? digest(password, salt) : derive(password, salt, iterations);
  return CRYPTO_memcmp(asked.data(), hash.data(), hash_bytes) == 0;
}

PasswordFile PasswordFile::parse(std::string_view text, std::vector<std::string>& faults) {
  PasswordFile file;
  file.iterations_max_ = 1;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::string_view line = without_line_end(take_part(text, '\n'));
    if (line.empty() || line.front() == '#') continue;
    const std::string where = "line " + std::to_string(number) + ": ";
    const auto colon = line.find(':');
    PasswordHash hash;
    if (colon == std::string_view::npos || colon == 0) {
      faults.push_back(where + "must be user:hash");
    } else if (!PasswordHash::parse(line.substr(colon + 1), hash)) {
      faults.push_back(where +
                       "not a hash that is understood ($7$ or $6$; is it plain text? make "
                       "it with `millrace passwd`)");
    } else {
      file.iterations_max_ = std::max(file.iterations_max_, hash.iterations);
      if (!file.users_.emplace(line.substr(0, colon), std::move(hash)).second) {
        faults.push_back(where + "the user \"" + std::string(line.substr(0, colon)) +
                         "\" stands twice");
      }
    }
  }
  file.nobody_ = PasswordHash::make("", file.iterations_max_);
  return file;
}

bool PasswordFile::verify(std::string_view user, std::string_view password) const {
  const auto found = users_.find(user);
  const bool known = found != users_.end();
  const PasswordHash& hash = known ? found->second : nobody_;
  const bool matches = hash.matches(password);
  // Users of one file may have different counts; the difference is worked off, so that the time
  // says nothing about who exists.
  if (hash.iterations < iterations_max_)
    derive(password, hash.salt, iterations_max_ - hash.iterations);
  return known && matches;
}

std::string user_name_fault(std::string_view user) {
  if (user.empty()) return "is empty";
  if (user.size() > user_name_bytes_max) return "is longer than 65,535 bytes";
  if (user.front() == '#') return "must not begin with \"#\"";
  if (user.find(':') != std::string_view::npos) return "must not contain \":\"";
  const auto is_control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
  if (std::any_of(user.begin(), user.end(), is_control)) return "must not contain control bytes";
  return "";
}

std::string with_user(std::string_view text, std::string_view user, const PasswordHash& hash) {
  const std::string line = std::string(user) + ":" + hash.to_string() + "\n";
  std::string edited;
  bool replaced = false;
  while (!text.empty()) {
    const std::string_view old = take_part(text, '\n');
    if (!is_line_of(old, user)) {
      edited.append(old).append("\n");
    } else if (!replaced) {
      edited += line;
      replaced = true;
    }
  }
  return replaced ? edited : edited + line;
}

bool without_user(std::string& text, std::string_view user) {
  std::string edited;
  bool found = false;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view line = take_part(rest, '\n');
    if (is_line_of(line, user)) {
      found = true;
    } else {
      edited.append(line).append("\n");
    }
  }
  text = std::move(edited);
  return found;
}

}  // namespace millrace::server
