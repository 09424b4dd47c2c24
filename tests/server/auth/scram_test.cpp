// SCRAM-SHA-256: the server's side against the RFC's own example and against clients that lie.
#include "server/auth/scram.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/auth/crypto.hpp"

namespace millrace::server {
namespace {

using protocol::ReasonCode;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// RFC 7677, section 3: user "user", password "pencil".
constexpr const char* first_message = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
constexpr const char* server_nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
constexpr const char* challenge =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const std::string final_head = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
constexpr const char* proof = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
constexpr const char* signature = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

ScramKeys pencil() {
  return ScramKeys::derive("pencil", *from_base64("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096);
}

ScramExchange exchange(const ScramKeys& keys = pencil()) {
  return {*parse_scram_first(first_message), keys, server_nonce};
}

TEST(ScramExchange, SpeaksAsInTheExampleOfTheRfc) {
  const ScramExchange rfc = exchange();
  EXPECT_EQ(rfc.user(), "user");
  EXPECT_EQ(rfc.challenge(), challenge);
  EXPECT_EQ(rfc.finish(final_head + ",p=" + proof).value(), signature);
}

TEST(ScramExchange, RefusesWhatDoesNotProveThePassword) {
  const ScramExchange rfc = exchange();
  const std::string other_proof = "e" + std::string(proof).substr(1);
  for (const std::string& message :
       {std::string(), std::string("p="), final_head, final_head + ",p=",
        final_head + ",p=" + other_proof, final_head + ",p=" + std::string(proof).substr(4),
        // Another channel binding, no nonce, the client's part alone, a longer one.
        "c=eSws" + final_head.substr(6) + ",p=" + proof, std::string("c=biws,p=") + proof,
        std::string("c=biws,r=rOprNGfwEbeRWgbNEkqO,p=") + proof, final_head + "x,p=" + proof,
        // An extension that was not signed.
        final_head + ",x=y,p=" + proof}) {
    const auto finished = rfc.finish(message);
    ASSERT_FALSE(finished) << message;
    EXPECT_EQ(finished.error(), ReasonCode::not_authorized);
  }
  EXPECT_FALSE(exchange(ScramKeys::make("pen", 4096)).finish(final_head + ",p=" + proof));
}

TEST(ScramFirst, ReadsNamesWithCommasAndEqualsSigns) {
  const auto first = parse_scram_first("y,a=a=2Cb=3Dc,n=a=2Cb=3Dc,r=x,e=later");
  ASSERT_TRUE(first);
  EXPECT_EQ(first->user, "a,b=c");
  EXPECT_EQ(first->gs2_header, "y,a=a=2Cb=3Dc,");
  EXPECT_EQ(first->bare, "n=a=2Cb=3Dc,r=x,e=later");
}

TEST(ScramFirst, RefusesWhatIsNotOffered) {
  for (const char* message :
       {"", "n", "n,,", "n,,n=user", "n,,n=user,r=", "n,,n=,r=x", "n,,r=x,n=user", "n,,n=a=b,r=x",
        "n,,n=a=2,r=x", "n,,n=user,r=a b", "n,,n=user,r=\xc3\xa4", "n,,m=must,n=user,r=x",
        "p=tls-exporter,,n=user,r=x", "x,,n=user,r=x", "n,a=other,n=user,r=x",
        "n,other,n=user,r=x"}) {
    EXPECT_FALSE(parse_scram_first(message)) << message;
  }
  EXPECT_FALSE(parse_scram_first("n,,n=user,r=" + std::string(257, 'x')));
}

TEST(ScramKeys, SurviveBeingWrittenAndRead) {
  ScramKeys read;
  ASSERT_EQ(ScramKeys::parse(pencil().to_string(), read), "");
  EXPECT_EQ(read.iterations, 4096u);
  EXPECT_EQ(read.salt, pencil().salt);
  EXPECT_EQ(read.stored_key, pencil().stored_key);
  EXPECT_EQ(read.server_key, pencil().server_key);
  EXPECT_NE(ScramKeys::make("x", 4096).to_string(), ScramKeys::make("x", 4096).to_string());
}

TEST(ScramKeys, RefuseWhatIsWeakOrBroken) {
  ScramKeys out;
  const std::string good = pencil().to_string();
  const auto with_iterations = [&](const std::string& number) {
    return "SCRAM-SHA-256$" + number + good.substr(good.find(':'));
  };
  EXPECT_EQ(ScramKeys::parse(with_iterations("4097"), out), "");
  EXPECT_THAT(ScramKeys::parse(with_iterations("4095"), out), HasSubstr("iterations"));
  EXPECT_THAT(ScramKeys::parse(with_iterations("10000001"), out), HasSubstr("iterations"));
  EXPECT_THAT(ScramKeys::parse(with_iterations("x"), out), HasSubstr("iterations"));
  EXPECT_THAT(ScramKeys::parse("secret", out), HasSubstr("passwd --scram"));
  EXPECT_NE(ScramKeys::parse(good.substr(0, good.size() - 4), out), "");
  EXPECT_NE(ScramKeys::parse("SCRAM-SHA-256$4096:" + good.substr(good.find('$', 14)), out), "");
}

TEST(ScramFile, NamesTheLinesThatCannotBeUsed) {
  const std::string line = "ann:" + pencil().to_string() + "\n";
  std::vector<std::string> faults;
  EXPECT_EQ(ScramFile::parse("# ours\n\n" + line, faults).size(), 1u);
  EXPECT_THAT(faults, IsEmpty());
  ScramFile::parse(line + line + "bob\ncid:plain\n", faults);
  EXPECT_THAT(faults, ElementsAre("line 2: the user \"ann\" stands twice",
                                  "line 3: must be user:hash", HasSubstr("line 4: not keys")));
}

TEST(ScramFile, AnUnknownUserLooksLikeAnyOther) {
  std::vector<std::string> faults;
  const std::string text = "ann:" + ScramKeys::make("a", 5000).to_string() + "\n";
  const ScramFile file = ScramFile::parse(text, faults);
  const ScramKeys known = file.keys_of("ann"), unknown = file.keys_of("nobody");
  EXPECT_EQ(unknown.iterations, known.iterations);
  EXPECT_EQ(unknown.salt.size(), known.salt.size());
  EXPECT_EQ(unknown.salt, ScramFile::parse(text, faults).keys_of("nobody").salt);
  EXPECT_EQ(unknown.salt, ScramFile::parse("", faults).keys_of("nobody").salt);  // another file
  EXPECT_NE(unknown.salt, file.keys_of("somebody").salt);
}

TEST(ScramPassword, IsWhatEveryClientReadsAlike) {
  EXPECT_EQ(scram_password_fault("se cret,=~"), "");
  for (const char* password : {"\xc3\xa4", "a\tb", "\x7f"}) {
    EXPECT_NE(scram_password_fault(password), "") << password;
  }
}

TEST(Base64, IsReadStrictly) {
  EXPECT_EQ(from_base64(""), "");
  EXPECT_EQ(from_base64("YQ=="), "a");
  EXPECT_EQ(from_base64("YWI="), "ab");
  EXPECT_EQ(to_base64("ab"), "YWI=");
  for (const char* text : {"YQ", "YQ=", "Y===", "=YQ=", " YQ=", "YQ=\n", "YQ==YQ==", "Y!=="}) {
    EXPECT_EQ(from_base64(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace millrace::server
