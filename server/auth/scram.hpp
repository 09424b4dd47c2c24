// SCRAM-SHA-256, the server's side: a client shows that it knows a password, and the server that it
// knows the user, without the password or anything that could stand for it crossing the wire.
//
//     client-first   n,,n=user,r=<client nonce>                    parse_scram_first()
//     server-first   r=<both nonces>,s=<salt>,i=<iterations>       ScramExchange::challenge()
//     client-final   c=biws,r=<both nonces>,p=<proof>              ScramExchange::finish()
//     server-final   v=<signature>                                 ... returns it
//
// The server keeps ScramKeys alone, which `millrace passwd --scram` derives: not even a stolen file
// lets somebody log in without first guessing the password at `iterations` HMACs a guess. So
// nothing here is slow, and an exchange runs on the connection's I/O thread.
//
// There is no channel binding (no SCRAM-SHA-256-PLUS). Names and passwords are compared as they are
// sent: this program does not prepare them by SASLprep, which leaves ASCII alone.
//
// Source: RFC 5802 (sections 3, 5, 7), RFC 7677; keys are written as in RFC 5803. Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/reason_code.hpp"

namespace millrace::server {

inline constexpr std::string_view scram_method = "SCRAM-SHA-256";
inline constexpr std::uint32_t scram_iterations_min = 4096;  // RFC 7677, section 4
inline constexpr std::uint32_t scram_iterations_max = 10'000'000;
inline constexpr std::uint32_t scram_iterations_default = 15'000;

// What the server knows of one user's password.
struct ScramKeys {
  std::uint32_t iterations = 0;
  std::string salt;
  std::string stored_key;  // H(ClientKey)
  std::string server_key;

  static ScramKeys make(std::string_view password, std::uint32_t iterations);
  static ScramKeys derive(std::string_view password, std::string salt, std::uint32_t iterations);
  // "SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>", the last three in base64. What is
  // wrong with it; "": nothing.
  static std::string parse(std::string_view text, ScramKeys& out);
  std::string to_string() const;
};

// "" for a password that a client and this program read alike, whether or not the client prepares
// it; else why not.
std::string scram_password_fault(std::string_view password);

// A file of `user:SCRAM-SHA-256$...` lines. Constant after construction; threads may share it.
class ScramFile {
 public:
  // Lines that cannot be used are described in `faults`, each with its number.
  static ScramFile parse(std::string_view text, std::vector<std::string>& faults);

  // An unknown user has keys too, the same each time and in each file that this process reads,
  // that no proof fits: so nobody learns from a challenge who exists.
  ScramKeys keys_of(std::string_view user) const;

  // Null: there is no such user.
  const ScramKeys* find(std::string_view user) const {
    const auto found = users_.find(user);
    return found == users_.end() ? nullptr : &found->second;
  }

  std::size_t size() const { return users_.size(); }

 private:
  std::map<std::string, ScramKeys, std::less<>> users_;
  std::uint32_t iterations_max_ = scram_iterations_default;
};

// A client-first-message, taken apart.
struct ScramFirst {
  std::string gs2_header;  // "n,,"
  std::string bare;        // what comes behind it
  std::string user;
  std::string nonce;
};

// NotAuthorized: not such a message, or one that asks for what is not offered (channel binding,
// extensions, acting for another user).
protocol::Result<ScramFirst> parse_scram_first(std::string_view message);

class ScramExchange {
 public:
  // `nonce`: the server's part, printable and without commas; new for each exchange.
  ScramExchange(ScramFirst first, ScramKeys keys, std::string_view nonce);

  const std::string& user() const { return first_.user; }
  const ScramKeys& keys() const { return keys_; }
  // The server-first-message.
  const std::string& challenge() const { return challenge_; }
  // The server-final-message for the client's final one; NotAuthorized: it does not prove that its
  // sender knows the password.
  protocol::Result<std::string> finish(std::string_view message) const;

 private:
  ScramFirst first_;
  ScramKeys keys_;
  std::string nonce_;  // both parts
  std::string challenge_;
};

// A server's part of a nonce.
std::string scram_nonce();

}  // namespace millrace::server
