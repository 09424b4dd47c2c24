// The fuzz target of server/auth/jwt.hpp and jwt_keys.hpp: tokens from a stranger, and files of keys.
//
// The first byte of an input says which. What must hold, beside the absence of crashes: a token that
// is believed bears the signature of the one key that there is, and its header that key's algorithm;
// a file of keys gives keys or says what is wrong with it.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/auth/crypto.hpp"
#include "server/auth/jwt.hpp"
#include "tests/fuzz/expect.hpp"

namespace server = millrace::server;
using millrace::expect;

namespace {

constexpr std::int64_t now_s = 1'000'000;

void check_token(std::string_view token) {
  const std::string secret(32, 's');
  server::JwtConfig config;
  config.secret_file = "x";
  config.acl_claim = "acl";
  const server::JwtVerifier verifier(config, {server::JwtKey::of_secret(secret)});
  const char* fault = nullptr;
  const auto claims = verifier.verify(token, now_s, fault);
  expect(claims.has_value() == (fault == nullptr),
         "a token that is refused is refused for a reason");
  if (!claims) return;
  const auto dot = token.rfind('.');
  expect(server::from_base64url(token.substr(dot + 1)) ==
             server::hmac(server::Digest::sha256, secret, token.substr(0, dot)),
         "a token that is believed is signed");
  expect(!claims->user.empty() && claims->carried != nullptr,
         "a token names its user and its rules");
}

void check_keys(std::string_view text) {
  std::vector<std::string> faults;
  const auto keys = server::parse_jwt_keys(text, faults);
  expect(keys.empty() != faults.empty(), "a file gives keys, or faults");
  for (const auto& key : keys) {
    expect(!key.fingerprint().empty(), "a key has a fingerprint");
    expect(!key.verify("text", "no signature"), "nothing is signed by chance");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t count) {
  if (count == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, count - 1);
  data[0] % 2 == 0 ? check_token(rest) : check_keys(rest);
  return 0;
}
