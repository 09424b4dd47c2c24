// Which tokens are believed, and what they say.
#include "server/auth/jwt.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <string>
#include <vector>

#include "server/auth/access.hpp"
#include "server/auth/crypto.hpp"
#include "server/auth/user_file.hpp"
#include "tests/server/files.hpp"
#include "tests/server/jwt_tokens.hpp"

namespace millrace::server {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t now_s = 1'000'000;
const std::string secret(32, 's');
const std::string hs256 = R"({"alg":"HS256","typ":"JWT"})";

JwtConfig plain_config() {
  JwtConfig config;
  config.keys_file = "x";  // its text is given to the tests' verifiers
  config.leeway_seconds = 10;
  return config;
}

JwtVerifier by_secret(const JwtConfig& config = plain_config()) {
  return {config, {JwtKey::of_secret(secret)}};
}

std::vector<JwtKey> keys_of(const std::string& text) {
  std::vector<std::string> faults;
  auto keys = parse_jwt_keys(text, faults);
  EXPECT_TRUE(faults.empty()) << faults.front();
  return keys;
}

std::string key_faults(const std::string& text) {
  std::vector<std::string> faults;
  EXPECT_TRUE(parse_jwt_keys(text, faults).empty());
  std::string all;
  for (const std::string& fault : faults) all += fault + "\n";
  return all;
}

// The user that the token names; or why it is refused.
std::string verdict(const JwtVerifier& verifier, const std::string& token) {
  const char* fault = nullptr;
  const auto claims = verifier.verify(token, now_s, fault);
  return claims ? claims->user : "refused: " + std::string(fault);
}
std::string verdict_on_claims(const std::string& claims, const JwtConfig& config = plain_config()) {
  return verdict(by_secret(config), test::token_by_secret(secret, hs256, claims));
}

// --- Signatures ---

TEST(Jwt, IsBelievedUnderEachAlgorithm) {
  const std::string claims = R"({"sub":"ann","exp":1000100})";
  EXPECT_EQ(verdict_on_claims(claims), "ann");
  const struct {
    const char* algorithm;
    test::KeyRef key;
  } pairs[] = {
      {"RS256", test::make_rsa()}, {"ES256", test::make_ec()}, {"EdDSA", test::make_ed25519()}};
  for (const auto& [algorithm, key] : pairs) {
    const JwtVerifier verifier(plain_config(), keys_of(test::public_pem(key)));
    const std::string header = R"({"alg":")" + std::string(algorithm) + R"("})";
    const std::string token = test::token(key, header, claims);
    EXPECT_EQ(verdict(verifier, token), "ann") << algorithm;
    // One bit of the signature, or of what is signed.
    for (const std::size_t at : {token.rfind('.') + 5, token.find('.') + 5}) {
      std::string other = token;
      other[at] = other[at] == 'A' ? 'B' : 'A';
      EXPECT_THAT(verdict(verifier, other), HasSubstr("refused")) << algorithm;
    }
    EXPECT_THAT(verdict(verifier, token.substr(0, token.rfind('.') + 1)), HasSubstr("refused"));
  }
}

TEST(Jwt, CannotChooseItsAlgorithm) {
  const std::string claims = R"({"sub":"ann","exp":1000100})";
  const auto key = test::make_rsa();
  const std::string pem = test::public_pem(key);
  const JwtVerifier verifier(plain_config(), keys_of(pem));
  // A public key is no secret: whoever knows it could sign with it.
  EXPECT_THAT(verdict(verifier, test::token_by_secret(pem, hs256, claims)),
              HasSubstr("no key here signed it"));
  for (const char* header : {R"({"alg":"none"})", R"({"alg":"None"})", R"({"alg":""})", "{}",
                             R"({"alg":null})", R"({"alg":["RS256"]})", R"({"alg":"RS512"})"}) {
    EXPECT_THAT(verdict(verifier, test::unsigned_token(header, claims) + "."), HasSubstr("refused"))
        << header;
    EXPECT_THAT(verdict(verifier, test::token(key, header, claims)), HasSubstr("refused"))
        << header;
  }
  EXPECT_EQ(verdict(verifier, test::token(key, R"({"alg":"RS256"})", claims)), "ann");
}

TEST(Jwt, IsVerifiedByTheKeyThatItNames) {
  const JwtVerifier verifier(plain_config(), {JwtKey::of_secret(std::string(32, 'a'), "a"),
                                              JwtKey::of_secret(std::string(32, 'b'), "b")});
  const std::string claims = R"({"sub":"ann","exp":1000100})";
  const auto signed_by = [&](char which, const std::string& header) {
    return verdict(verifier, test::token_by_secret(std::string(32, which), header, claims));
  };
  EXPECT_EQ(signed_by('b', R"({"alg":"HS256","kid":"b"})"), "ann");
  EXPECT_THAT(signed_by('b', R"({"alg":"HS256","kid":"a"})"), HasSubstr("no key here signed it"));
  EXPECT_EQ(signed_by('b', hs256), "ann");
}

TEST(Jwt, HasOneFormAlone) {
  const std::string good = test::token_by_secret(secret, hs256, R"({"sub":"ann","exp":1000100})");
  ASSERT_EQ(verdict(by_secret(), good), "ann");
  for (const std::string& other :
       {std::string(), std::string("."), std::string(".."), good + ".", "." + good, good + "=",
        good + "A", good + "\n", good.substr(1), good.substr(0, good.find('.'))}) {
    EXPECT_THAT(verdict(by_secret(), other), HasSubstr("refused")) << other;
  }
  EXPECT_THAT(verdict(by_secret(), good + std::string(20'000, 'A')), HasSubstr("longer than"));
  EXPECT_THAT(
      verdict(by_secret(), test::token_by_secret(secret, R"({"alg":"HS256","crit":["b64"]})",
                                                 R"({"sub":"ann","exp":1000100})")),
      HasSubstr("asks for an extension"));
}

TEST(Jwt, WithANameThatStandsTwiceOrNestedTooDeepIsRefused) {
  EXPECT_THAT(verdict_on_claims(R"({"sub":"ann","sub":"root","exp":1000100})"),
              HasSubstr("cannot be read"));
  EXPECT_THAT(verdict_on_claims(R"({"sub":"ann","exp":1000100,"x":)" + std::string(50, '[') +
                                std::string(50, ']') + "}"),
              HasSubstr("cannot be read"));
  EXPECT_THAT(verdict_on_claims("[]"), HasSubstr("cannot be read"));
  EXPECT_THAT(verdict_on_claims("{\"sub\":\"a\xff\",\"exp\":1000100}"),
              HasSubstr("cannot be read"));
}

// --- Claims ---

TEST(Jwt, HoldsWithinItsTimesAndTheLeeway) {
  EXPECT_EQ(verdict_on_claims(R"({"sub":"ann","exp":999991})"), "ann");
  EXPECT_THAT(verdict_on_claims(R"({"sub":"ann","exp":999990})"), HasSubstr("has expired"));
  EXPECT_EQ(verdict_on_claims(R"({"sub":"ann","exp":1000100,"nbf":1000010})"), "ann");
  EXPECT_THAT(verdict_on_claims(R"({"sub":"ann","exp":1000100,"nbf":1000011})"),
              HasSubstr("not valid yet"));
  EXPECT_EQ(verdict_on_claims(R"({"sub":"ann","exp":1000100,"iat":1000010})"), "ann");
  EXPECT_THAT(verdict_on_claims(R"({"sub":"ann","exp":1000100,"iat":1000011})"),
              HasSubstr("issued in the future"));
  EXPECT_EQ(verdict_on_claims(R"({"sub":"ann","exp":1000100.5})"), "ann");
  for (const char* time : {R"("soon")", "null", "[]", "1e300", "true", R"("1000100")"}) {
    EXPECT_THAT(verdict_on_claims(R"({"sub":"ann","exp":)" + std::string(time) + "}"),
                HasSubstr("a time in it is no number"))
        << time;
  }
}

TEST(Jwt, WithoutAnEndIsTakenOnlyIfThatIsSaid) {
  JwtConfig config = plain_config();
  EXPECT_THAT(verdict_on_claims(R"({"sub":"ann"})", config), HasSubstr("never expires"));
  config.expiry_required = false;
  EXPECT_EQ(verdict_on_claims(R"({"sub":"ann"})", config), "ann");
}

TEST(Jwt, SaysWhenItEnds) {
  const char* fault = nullptr;
  const auto claims = by_secret().verify(
      test::token_by_secret(secret, hs256, R"({"sub":"ann","exp":1000100})"), now_s, fault);
  ASSERT_TRUE(claims);
  EXPECT_EQ(claims->expires_at_s, 1'000'110);
}

TEST(Jwt, IsFromTheIssuerAndForTheAudienceThatAreConfigured) {
  JwtConfig config = plain_config();
  config.issuer = "idp";
  config.audience = "mqtt";
  const auto of = [&](const std::string& more) {
    return verdict_on_claims(R"({"sub":"ann","exp":1000100)" + more + "}", config);
  };
  EXPECT_EQ(of(R"(,"iss":"idp","aud":"mqtt")"), "ann");
  EXPECT_EQ(of(R"(,"iss":"idp","aud":["web","mqtt"])"), "ann");
  EXPECT_THAT(of(R"(,"iss":"other","aud":"mqtt")"), HasSubstr("another issuer"));
  EXPECT_THAT(of(R"(,"aud":"mqtt")"), HasSubstr("another issuer"));
  EXPECT_THAT(of(R"(,"iss":"idp","aud":["web"])"), HasSubstr("another audience"));
  EXPECT_THAT(of(R"(,"iss":"idp")"), HasSubstr("no audience"));
  // RFC 7519, section 4.1.3: whoever is not in it must refuse it.
  for (const char* audience : {R"("web")", R"("")", R"([""])"}) {
    EXPECT_THAT(
        verdict_on_claims(R"({"sub":"ann","exp":1000100,"aud":)" + std::string(audience) + "}"),
        HasSubstr("another audience"));
  }
}

TEST(Jwt, NamesItsUser) {
  JwtConfig config = plain_config();
  config.user_claim = "name";
  EXPECT_EQ(verdict_on_claims(R"({"sub":"ann","name":"Ann","exp":1000100})", config), "Ann");
  for (const char* name : {"\"\"", "1", "null", "[\"ann\"]", "\"a\\u0000b\""}) {
    EXPECT_THAT(verdict_on_claims(R"({"sub":)" + std::string(name) + R"(,"exp":1000100})"),
                HasSubstr("names no user"))
        << name;
  }
}

TEST(Jwt, CarriesRulesThatLimitTheClientBesideTheConfigurations) {
  JwtConfig config = plain_config();
  config.acl_claim = "acl";
  const auto claims_of = [&](const std::string& acl) {
    const char* fault = nullptr;
    return by_secret(config).verify(
        test::token_by_secret(secret, hs256, R"({"sub":"ann","exp":1000100,"acl":)" + acl + "}"),
        now_s, fault);
  };
  const auto claims = claims_of(R"({"publish":["up/#"],"subscribe":["down/+"],"all":["both"]})");
  ASSERT_TRUE(claims && claims->carried);
  EXPECT_TRUE(claims->carried->publish->permit("up/x"));
  EXPECT_TRUE(claims->carried->publish->permit("both"));
  EXPECT_FALSE(claims->carried->publish->permit("down/x"));
  EXPECT_TRUE(claims->carried->subscribe->extent("down/+").has_value());
  EXPECT_FALSE(claims->carried->subscribe->extent("#").has_value());
  EXPECT_FALSE(claims_of("{}")->carried->publish->permit("up/x"));
  for (const char* acl :
       {"[]", "null", R"({"publish":"#"})", R"({"publish":["a/#/b"]})", R"({"read":["#"]})",
        R"({"publish":["$share/g/#"]})", R"({"publish":[1]})"}) {
    EXPECT_FALSE(claims_of(acl)) << acl;
  }
  EXPECT_THAT(verdict_on_claims(R"({"sub":"ann","exp":1000100})", config),
              HasSubstr("its rules are missing"));
}

TEST(Jwt, KnowsItsKeyUntilTheKeyOrWhatTokensMustSayChanges) {
  const char* fault = nullptr;
  const auto claims = by_secret().verify(
      test::token_by_secret(secret, hs256, R"({"sub":"ann","exp":1000100})"), now_s, fault);
  ASSERT_TRUE(claims);
  EXPECT_TRUE(by_secret().knows(claims->key));
  JwtConfig other = plain_config();
  other.issuer = "idp";
  EXPECT_FALSE(by_secret(other).knows(claims->key));
  JwtConfig lenient = plain_config();
  lenient.expiry_required = false;
  EXPECT_FALSE(by_secret(lenient).knows(claims->key));
  EXPECT_FALSE(
      JwtVerifier(plain_config(), {JwtKey::of_secret(std::string(32, 'x'))}).knows(claims->key));
}

// --- Keys ---

TEST(JwtKeys, AreReadFromPemAndFromSets) {
  const auto rsa = test::make_rsa();
  const auto keys = keys_of(test::public_pem(rsa) + test::public_pem(test::make_ec()) +
                            test::public_pem(test::make_ed25519()));
  ASSERT_EQ(keys.size(), 3u);
  EXPECT_EQ(keys[0].algorithm(), JwtAlgorithm::rs256);
  EXPECT_EQ(keys[1].algorithm(), JwtAlgorithm::es256);
  EXPECT_EQ(keys[2].algorithm(), JwtAlgorithm::eddsa);
  EXPECT_NE(keys[0].fingerprint(), keys[1].fingerprint());
}

// The examples of RFC 7515, appendix A.1, and RFC 8037, appendix A.4.
TEST(JwtKeys, VerifyTheExamplesOfTheRfcs) {
  const auto hmac = keys_of(
      R"({"keys":[{"kty":"oct","kid":"h","alg":"HS256","k":)"
      R"("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}]})");
  ASSERT_EQ(hmac.size(), 1u);
  EXPECT_EQ(hmac[0].id(), "h");
  EXPECT_TRUE(hmac[0].verify(
      "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."
      "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl"
      "fQ",
      from_base64url("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk").value()));
  const auto eddsa =
      keys_of(R"({"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})");
  ASSERT_EQ(eddsa.size(), 1u);
  EXPECT_TRUE(eddsa[0].verify(
      "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
      from_base64url(
          "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg")
          .value()));
  const auto ec =
      keys_of(R"({"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",)"
              R"("y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"})");
  ASSERT_EQ(ec.size(), 1u);
  EXPECT_TRUE(ec[0].verify(
      "eyJhbGciOiJFUzI1NiJ9."
      "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl"
      "fQ",
      from_base64url(
          "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q")
          .value()));
}

// RFC 7515, A.2.
TEST(JwtKeys, VerifyTheExampleForRsa) {
  const auto rsa =
      keys_of(R"({"kty":"RSA","kid":"r","e":"AQAB","n":")"
              "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEz"
              "P1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf6"
              "3kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5Zw"
              "Kh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRW"
              "yuXpoQ"
              R"("})");
  ASSERT_EQ(rsa.size(), 1u);
  EXPECT_EQ(rsa[0].id(), "r");
  const std::string signed_text =
      "eyJhbGciOiJSUzI1NiJ9."
      "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl"
      "fQ";
  const std::string signature =
      from_base64url(
          "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt"
          "_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArL"
          "IARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7no"
          "OPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQ"
          "Ge77Rw")
          .value();
  EXPECT_TRUE(rsa[0].verify(signed_text, signature));
  EXPECT_FALSE(rsa[0].verify(signed_text + "0", signature));
}

TEST(JwtKeys, ThatAreWeakOrUnknownAreFaults) {
  EXPECT_THAT(key_faults(test::public_pem(test::make_rsa(1024))), HasSubstr("less than 2,048"));
  EXPECT_THAT(key_faults(test::public_pem(test::make_ec("P-384"))), HasSubstr("no key of RSA"));
  EXPECT_THAT(key_faults(R"({"keys":[{"kty":"oct","k":"c2hvcnQ"}]})"), HasSubstr("less than 32"));
  EXPECT_THAT(key_faults(R"({"keys":[{"kty":"oct","alg":"RS256","k":")" +
                         to_base64url(std::string(32, 'k')) + R"("}]})"),
              HasSubstr("says the algorithm RS256, but its kind is for HS256"));
  EXPECT_THAT(key_faults(R"({"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]})"),
              HasSubstr("key 1 is no key"));
  EXPECT_THAT(key_faults(R"({"keys":[7]})"), HasSubstr("key 1 is no JSON object"));
  EXPECT_THAT(key_faults(R"({"keys":{}})"), HasSubstr("`keys` is no list"));
  EXPECT_THAT(key_faults("{"), HasSubstr("is no JSON object"));
  EXPECT_THAT(key_faults(""), HasSubstr("holds no key"));
  EXPECT_THAT(key_faults("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
              HasSubstr("key 1 is no public key"));
  EXPECT_THAT(key_faults("-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----\n"),
              HasSubstr("holds what is no PEM"));
  EXPECT_THAT(key_faults(test::public_pem(test::make_ed25519()) +
                         "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
              HasSubstr("key 2 is a PRIVATE KEY; only public keys are read"));
}

// A megabyte of keys is read in a time that nobody notices, and without much of the stack.
TEST(JwtKeys, AreLimitedInNumberAndDepth) {
  const std::string one = R"({"kty":"oct","k":")" + to_base64url(std::string(32, 'k')) + R"("})";
  std::string many = R"({"keys":[)" + one;
  for (int i = 0; i < 256; ++i) many += "," + one;
  EXPECT_THAT(key_faults(many + "]}"), HasSubstr("more than 256 keys"));
  EXPECT_THAT(
      key_faults(R"({"keys":)" + std::string(500'000, '[') + std::string(500'000, ']') + "}"),
      HasSubstr("nested too deep"));
  EXPECT_THAT(key_faults("{\"a\":" + std::string(1'000'000, '[')), HasSubstr("nested too deep"));
}

TEST(Base64url, HasOneFormForEachText) {
  EXPECT_EQ(from_base64url("-_-_"), "\xfb\xff\xbf");
  EXPECT_EQ(to_base64url("\xfb\xff\xbf"), "-_-_");
  EXPECT_EQ(from_base64url("YQ"), "a");
  for (const char* text : {"YQ==", "YR", "Y", "+/+/", "Y Q", "YQ\n"}) {
    EXPECT_EQ(from_base64url(text), std::nullopt) << text;
  }
}

// --- In Access ---

class Tokens : public ::testing::Test {
 protected:
  Tokens() { config_.jwt.secret_file = folder_.write("secret", secret + "\n"); }
  std::shared_ptr<const Access> access() {
    std::vector<ConfigFault> faults;
    auto made = Access::make(config_, faults);
    EXPECT_TRUE(faults.empty());
    return made;
  }
  static std::string token(const std::string& user, const std::string& more = "") {
    return test::token_by_secret(secret, hs256,
                                 R"({"sub":")" + user + R"(","exp":)" +
                                     std::to_string(std::time(nullptr) + 1000) + more + "}");
  }
  test::Folder folder_;
  AccessConfig config_;
};

TEST_F(Tokens, LetInWhomTheyName) {
  const auto grants = access()->authenticate("whoever", token("ann"));
  ASSERT_TRUE(grants);
  EXPECT_EQ((*grants)->user(), "ann");
  EXPECT_GT((*grants)->expires_at_s(), std::time(nullptr));
  for (const std::string& password : {std::string("secret"), token("ann") + "x"}) {
    EXPECT_EQ(access()->authenticate("ann", password).error(),
              protocol::ReasonCode::bad_user_name_or_password);
  }
  EXPECT_EQ(access()->authenticate({}, {}).error(), protocol::ReasonCode::not_authorized);
}

TEST_F(Tokens, ThatAreNoneLetNobodyInAsAnonymous) {
  config_.allow_anonymous = true;
  EXPECT_TRUE(access()->authenticate({}, {}).has_value());
  const auto wrong = protocol::ReasonCode::bad_user_name_or_password;
  EXPECT_EQ(access()->authenticate({}, "secret").error(), wrong);
  config_.password_file =
      folder_.write("passwd", with_user("", "bob", PasswordHash::make("secret", 10).to_string()));
  EXPECT_EQ(access()->authenticate({}, "secret").error(), wrong);
  EXPECT_EQ(access()->authenticate({}, token("ann") + "x").error(), wrong);
}

// Else whoever has a token could clear away the failures of guesses at another's password.
TEST_F(Tokens, ProveNoNameThatIsSentBesideThem) {
  EXPECT_EQ(access()->name_to_prove("bob", token("ann")), "");
  EXPECT_EQ(access()->name_to_prove("bob", "secret"), "bob");
  config_.jwt = {};
  EXPECT_EQ(access()->name_to_prove("bob", token("ann")), "bob");
}

TEST_F(Tokens, StandBesidePasswords) {
  config_.password_file =
      folder_.write("passwd", with_user("", "bob", PasswordHash::make("secret", 10).to_string()));
  EXPECT_EQ((*access()->authenticate("bob", "secret"))->user(), "bob");
  EXPECT_EQ((*access()->authenticate("bob", token("ann")))->user(), "ann");
}

TEST_F(Tokens, KeepTheirRulesAcrossAReload) {
  config_.jwt.acl_claim = "acl";
  const auto before = *access()->authenticate({}, token("ann", R"(,"acl":{"all":["a/#"]})"));
  EXPECT_FALSE(before->publish_refusal("a/b"));
  EXPECT_TRUE(before->publish_refusal("b"));
  AccessRule secret_rule;
  secret_rule.filter = "a/secret";
  config_.rules = {secret_rule};
  config_.otherwise = AccessEffect::allow;
  const auto now = access();
  const auto grants = now->readmit(*before);
  ASSERT_NE(grants, nullptr);
  EXPECT_FALSE(grants->publish_refusal("a/b"));
  EXPECT_TRUE(grants->publish_refusal("a/secret"));
  EXPECT_TRUE(grants->publish_refusal("b"));
  EXPECT_TRUE(now->renew(*before->rights())->publish_refusal("b", {}));
}

// As a session does that is read from the disk: all that is kept is owner and credential.
TEST_F(Tokens, KeepTheirRulesAcrossARestartWhateverBecomesOfTheKey) {
  config_.jwt.acl_claim = "acl";
  const auto before = *access()->authenticate({}, token("ann", R"(,"acl":{"all":["a/#"]})"));
  broker::Rights kept;
  kept.owner = before->rights()->owner;
  kept.credential = before->rights()->credential;
  for (int i = 0; i < 2; ++i) {
    const auto rights = access()->renew(kept);
    ASSERT_NE(rights, nullptr);
    EXPECT_FALSE(rights->publish_refusal("a/b", {}));
    EXPECT_TRUE(rights->publish_refusal("b", {}));
    kept.credential = rights->credential;
    config_.jwt.secret_file = folder_.write("other", std::string(32, 'o'));
  }
}

TEST_F(Tokens, AndPasswordsLeaveNothingInACredentialToGuessAgainst) {
  const PasswordHash hash = PasswordHash::make("secret", 10);
  config_.password_file = folder_.write("passwd", with_user("", "bob", hash.to_string()));
  const auto grants = *access()->authenticate("bob", "secret");
  EXPECT_EQ(grants->rights()->credential.find(to_base64(hash.hash)), std::string::npos);
  EXPECT_NE(access()->readmit(*grants), nullptr);
}

TEST_F(Tokens, OfAKeyThatIsGoneLoseTheirConnectionsAndNotTheirSessions) {
  const auto before = *access()->authenticate({}, token("ann"));
  EXPECT_NE(access()->readmit(*before), nullptr);
  config_.jwt.secret_file = folder_.write("other", std::string(32, 'o'));
  EXPECT_EQ(access()->readmit(*before), nullptr);
  EXPECT_NE(access()->renew(*before->rights()), nullptr);
  config_.jwt = {};
  EXPECT_EQ(access()->renew(*before->rights()), nullptr);
}

TEST_F(Tokens, NeedFilesThatCanBeUsed) {
  std::vector<ConfigFault> faults;
  config_.jwt.secret_file = folder_.write("short", "short");
  config_.jwt.keys_file = "/nonexistent";
  EXPECT_EQ(Access::make(config_, faults), nullptr);
  ASSERT_EQ(faults.size(), 2u);
  EXPECT_EQ(faults[0].path, "access.jwt.keys_file");
  EXPECT_EQ(faults[1].path, "access.jwt.secret_file");
  faults.clear();
  config_.jwt.secret_file = folder_.write("large", std::string((1 << 20) + 1, 'x'));
  config_.jwt.keys_file = folder_.path(".");
  EXPECT_EQ(Access::make(config_, faults), nullptr);
  ASSERT_EQ(faults.size(), 2u);
  EXPECT_THAT(faults[0].to_string(), HasSubstr("is empty, or no file"));
  EXPECT_THAT(faults[1].to_string(), HasSubstr("is larger than 1 MiB"));
  faults.clear();
  // Whoever has the public key could sign with it.
  config_.jwt.secret_file = folder_.write("public", test::public_pem(test::make_rsa()));
  config_.jwt.keys_file.clear();
  EXPECT_EQ(Access::make(config_, faults), nullptr);
  EXPECT_THAT(faults[0].to_string(), HasSubstr("Did you mean access.jwt.keys_file?"));
  faults.clear();
  config_.jwt.keys_file = folder_.write("keys", "{}");
  EXPECT_EQ(Access::make(config_, faults), nullptr);
  EXPECT_THAT(faults[0].to_string(), HasSubstr("access.jwt.keys_file: "));
}

}  // namespace
}  // namespace millrace::server
