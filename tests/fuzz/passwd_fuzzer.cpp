// The fuzz target of what is read of users: files of passwords and of SCRAM keys (an operator's, but
// written by any program), and the first message of an exchange, which is a stranger's.
//
// What must hold, beside the absence of crashes: a hash or keys that were read are written as a text
// that means the same; a file gives users or says what is wrong with it, and knows nobody whom it
// does not name. No password is hashed: a file may ask for a second of that.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/auth/password_file.hpp"
#include "server/auth/scram.hpp"
#include "server/auth/user_file.hpp"
#include "tests/fuzz/expect.hpp"

namespace server = millrace::server;
using millrace::expect;

namespace {

void check_hash(std::string_view secret) {
  server::PasswordHash hash, again;
  if (server::PasswordHash::parse(secret, hash)) {
    expect(server::PasswordHash::parse(hash.to_string(), again), "a hash is written as one");
    expect(again.to_string() == hash.to_string(), "a hash that is read again is the same");
  }
  server::ScramKeys keys, same;
  if (server::ScramKeys::parse(secret, keys).empty()) {
    expect(server::ScramKeys::parse(keys.to_string(), same).empty(), "keys are written as keys");
    expect(same.to_string() == keys.to_string(), "keys that are read again are the same");
  }
}

void check_file(std::string_view text) {
  std::vector<std::string> faults, lines, scram_faults;
  const auto file = server::PasswordFile::parse(text, faults);
  std::size_t users = 0;
  server::for_each_user(text, lines, [&](std::string_view, std::string_view secret) {
    ++users;
    check_hash(secret);
    return std::string();
  });
  expect(file.size() <= users && users + lines.size() >= faults.size(), "a fault is of one line");
  expect(!faults.empty() || file.size() == users, "a user is read, or a fault");
  expect(file.find("nobody:") == nullptr, "who is not named is not known");
  static_cast<void>(server::ScramFile::parse(text, scram_faults));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t count) {
  const std::string text(reinterpret_cast<const char*>(data), count);
  check_file(text);
  if (const auto first = server::parse_scram_first(text)) {
    expect(text.find(first->nonce) != std::string::npos, "the nonce is the client's");
  }
  return 0;
}
