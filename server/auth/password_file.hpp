// Password files in mosquitto's format, one `user:$7$iterations$salt$hash` a line
// (PBKDF2-HMAC-SHA512, 64 bytes, salt and hash in base64; the older `$6$`, SHA512 of password and
// salt, is read but never written), or `user:$argon2id$...` (argon2.hpp).
//
// Threads: a `PasswordFile` is constant after construction and may be shared.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/auth/argon2.hpp"

namespace millrace::server {

inline constexpr std::uint32_t password_iterations_default = 1000;
inline constexpr std::uint32_t password_iterations_max = 10'000'000;

struct PasswordHash {
  std::uint32_t iterations = 0;  // 0: a single salted SHA512, the `$6$` format
  std::string salt;
  std::string hash;
  std::optional<Argon2Hash> argon2 = {};  // then the three above are unused

  static PasswordHash make_argon2(std::string_view password);
  static PasswordHash make(std::string_view password, std::uint32_t iterations);
  static bool parse(std::string_view text,
                    PasswordHash& out);  // "$7$...", "$6$...", "$argon2id$..."
  std::string to_string() const;
  bool matches(std::string_view password) const;  // in constant time for equal iterations
};

class PasswordFile {
 public:
  // Lines that cannot be used are described in `faults`, each with its number.
  static PasswordFile parse(std::string_view text, std::vector<std::string>& faults);

  // Costs the same for a wrong password and for a user that does not exist.
  bool verify(std::string_view user, std::string_view password) const;

  // Null: there is no such user.
  const PasswordHash* find(std::string_view user) const {
    const auto found = users_.find(user);
    return found == users_.end() ? nullptr : &found->second;
  }

  std::size_t size() const { return users_.size(); }

 private:
  std::map<std::string, PasswordHash, std::less<>> users_;
  std::uint32_t iterations_max_ = password_iterations_default;
  PasswordHash nobody_;  // what an unknown user's password is compared with
  std::optional<Argon2Hash>
      argon2_max_;  // the costliest of the file, of nobody; unset: it has none
};

}  // namespace millrace::server
