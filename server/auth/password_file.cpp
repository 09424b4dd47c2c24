#include "server/auth/password_file.hpp"

#include <algorithm>
#include <charconv>

#include "server/auth/crypto.hpp"
#include "server/auth/user_file.hpp"

namespace millrace::server {

namespace {

constexpr std::size_t hash_bytes = 64;  // SHA512
constexpr std::size_t salt_bytes = 12;  // mosquitto's
constexpr std::size_t salt_bytes_max = 1024;

}  // namespace

PasswordHash PasswordHash::make(std::string_view password, std::uint32_t iterations) {
  PasswordHash made;
  made.iterations = iterations;
  made.salt = random_bytes(salt_bytes);
  made.hash = derive_key(Digest::sha512, password, made.salt, iterations);
  return made;
}

PasswordHash PasswordHash::make_argon2(std::string_view password) {
  PasswordHash made;
  made.argon2 = Argon2Hash::make(password);
  return made;
}

bool PasswordHash::parse(std::string_view text, PasswordHash& out) {
  PasswordHash parsed;
  if (auto argon2 = Argon2Hash::parse(text)) {
    parsed.argon2 = std::move(*argon2);
    out = std::move(parsed);
    return true;
  }
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
  auto salt = from_base64(take_part(text, '$'));
  auto hash = from_base64(text);
  if (!salt || salt->empty() || salt->size() > salt_bytes_max) return false;
  if (!hash || hash->size() != hash_bytes) return false;
  parsed.salt = std::move(*salt);
  parsed.hash = std::move(*hash);
  out = std::move(parsed);
  return true;
}

std::string PasswordHash::to_string() const {
  if (argon2) return argon2->to_string();
  const std::string tail = to_base64(salt) + "$" + to_base64(hash);
  return iterations == 0 ? "$6$" + tail : "$7$" + std::to_string(iterations) + "$" + tail;
}

bool PasswordHash::matches(std::string_view password) const {
  if (argon2) return argon2->matches(password);
  return equal_secrets(hash, iterations == 0
                                 ? digest(Digest::sha512, std::string(password) + salt)
                                 : derive_key(Digest::sha512, password, salt, iterations));
}

PasswordFile PasswordFile::parse(std::string_view text, std::vector<std::string>& faults) {
  PasswordFile file;
  file.iterations_max_ = 1;
  for_each_user(text, faults, [&](std::string_view user, std::string_view secret) -> std::string {
    PasswordHash hash;
    if (!PasswordHash::parse(secret, hash)) {
      return "not a hash that is understood ($7$, $6$ or $argon2id$; is it plain text? make it "
             "with `millrace passwd`)";
    }
    if (hash.argon2 && (!file.argon2_max_ || hash.argon2->cost() > file.argon2_max_->cost())) {
      file.argon2_max_ = hash.argon2;
    }
    file.iterations_max_ = std::max(file.iterations_max_, hash.iterations);
    if (file.users_.emplace(user, std::move(hash)).second) return "";
    return user_stands_twice(user);
  });
  file.nobody_ = {file.iterations_max_, random_bytes(salt_bytes), random_bytes(hash_bytes)};
  if (file.argon2_max_) file.argon2_max_->hash = random_bytes(file.argon2_max_->hash.size());
  return file;
}

bool PasswordFile::verify(std::string_view user, std::string_view password) const {
  const auto found = users_.find(user);
  const bool known = found != users_.end();
  const PasswordHash& hash = known ? found->second : nobody_;
  const bool matches = hash.matches(password);
  // Users of one file may have different counts; the difference is worked off, so that the time
  // says nothing about who exists.
  if (hash.iterations < iterations_max_) {
    derive_key(Digest::sha512, password, hash.salt, iterations_max_ - hash.iterations);
  }
  if (argon2_max_ && !hash.argon2) static_cast<void>(argon2_max_->matches(password));
  return known && matches;
}

}  // namespace millrace::server
