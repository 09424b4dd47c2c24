// What of a listener's TLS files and settings can be used, and what is said of those that cannot.
#include "server/auth/tls_context.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include <chrono>

#include "tests/server/certificates.hpp"

namespace millrace::server {
namespace {

using test::Folder;
using test::make_certificate;
using ::testing::AllOf;
using ::testing::HasSubstr;

class TlsFiles : public testing::Test {
 protected:
  void SetUp() override {
    make_certificate(folder_, "good");
    listener_.transport = Transport::tls;
    listener_.tls.certificate_file = folder_.path("good.pem");
    listener_.tls.key_file = folder_.path("good.key");
  }
  // "key: message" of each fault, a line each.
  std::string faults() {
    std::vector<TlsFault> faults;
    setup_ = make_tls_setup(listener_, faults);
    EXPECT_EQ(setup_.context == nullptr, !faults.empty());
    std::string text;
    for (const TlsFault& fault : faults) text += fault.key + ": " + fault.message + "\n";
    return text;
  }
  void encrypt_key(const std::string& phrase) {
    const auto made =
        test::run("openssl pkey -in " + folder_.path("good.key") +
                  " -aes128 -passout 'pass:" + phrase + "' -out " + folder_.path("locked.key"));
    ASSERT_EQ(made.code, 0) << made.output;
    listener_.tls.key_file = folder_.path("locked.key");
  }

  const Folder folder_;
  ListenerConfig listener_;
  TlsSetup setup_;
};

TEST_F(TlsFiles, ThatBelongTogetherAreUsed) {
  EXPECT_EQ(faults(), "");
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto left_s =
      setup_.certificate_ends_s - std::chrono::duration_cast<std::chrono::seconds>(now).count();
  EXPECT_GT(left_s, 29 * 24 * 3600);
  EXPECT_LE(left_s, 30 * 24 * 3600);
}

TEST_F(TlsFiles, AKeyOfAnotherCertificateIsAFaultOfTheKey) {
  make_certificate(folder_, "other");
  listener_.tls.key_file = folder_.path("other.key");
  EXPECT_THAT(faults(), HasSubstr("tls.key_file: does not belong to the certificate"));
  make_certificate(folder_, "rsa", "rsa:2048");
  listener_.tls.key_file = folder_.path("rsa.key");
  EXPECT_THAT(faults(), HasSubstr("tls.key_file: does not belong to the certificate"));
}

TEST_F(TlsFiles, GarbageIsAFaultOfItsKey) {
  listener_.tls.key_file = folder_.write("key", "garbage\n");
  EXPECT_THAT(faults(), HasSubstr("tls.key_file: cannot be used"));
  listener_.tls.certificate_file = folder_.write("certificate", "garbage\n");
  EXPECT_THAT(faults(), HasSubstr("tls.certificate_file: cannot be used"));
}

TEST_F(TlsFiles, AnEncryptedKeyAsksForItsPassPhraseFileAndNotTheTerminal) {
  encrypt_key("open sesame");
  EXPECT_THAT(faults(),
              AllOf(HasSubstr("tls.key_file: is encrypted"), HasSubstr("tls.key_password_file")));
  listener_.tls.key_password_file = folder_.write("phrase", "wrong\n");
  EXPECT_THAT(faults(), HasSubstr("tls.key_password_file: does not open the key"));
  listener_.tls.key_password_file = folder_.write("phrase", "");
  EXPECT_THAT(faults(), HasSubstr("tls.key_password_file: has no first line"));
  listener_.tls.key_password_file = folder_.write("phrase", "open sesame\r\nmore\n");
  EXPECT_EQ(faults(), "");
}

TEST_F(TlsFiles, RsaOf1024BitsIsTooWeak) {
  make_certificate(folder_, "weak", "rsa:1024");
  listener_.tls.certificate_file = folder_.path("weak.pem");
  listener_.tls.key_file = folder_.path("weak.key");
  EXPECT_THAT(faults(),
              AllOf(HasSubstr("tls.certificate_file: cannot be used"), HasSubstr("key too small")));
}

TEST_F(TlsFiles, OnlyCiphersWithFreshKeysAndAuthenticationAreOffered) {
  ASSERT_EQ(faults(), "");
  const auto* ciphers = SSL_CTX_get_ciphers(setup_.context->native_handle());
  ASSERT_GT(sk_SSL_CIPHER_num(ciphers), 3);
  for (int i = 0; i < sk_SSL_CIPHER_num(ciphers); ++i) {
    const SSL_CIPHER* cipher = sk_SSL_CIPHER_value(ciphers, i);
    EXPECT_EQ(SSL_CIPHER_is_aead(cipher), 1) << SSL_CIPHER_get_name(cipher);
    EXPECT_NE(SSL_CIPHER_get_kx_nid(cipher), NID_kx_rsa) << SSL_CIPHER_get_name(cipher);
  }
  listener_.tls.ciphers = "AES128-GCM-SHA256";
  EXPECT_THAT(faults(), HasSubstr("tls.ciphers: contains AES128-GCM-SHA256"));
  listener_.tls.ciphers = "ECDHE-RSA-AES128-SHA256";
  EXPECT_THAT(faults(), HasSubstr("lacks ECDHE or AEAD"));
  listener_.tls.ciphers = "no such thing";
  EXPECT_THAT(faults(), HasSubstr("tls.ciphers: is no list of ciphers"));
}

TEST_F(TlsFiles, AuthoritiesAndRevocationsThatCannotBeReadAreFaults) {
  listener_.tls.client_certificate = ClientCertificate::required;
  listener_.tls.client_ca_file = folder_.write("ca", "garbage\n");
  EXPECT_THAT(faults(), HasSubstr("tls.client_ca_file: cannot be used"));
  listener_.tls.client_ca_file = folder_.path("good.pem");
  listener_.tls.crl_file = folder_.path("good.pem");
  EXPECT_THAT(faults(), HasSubstr("tls.crl_file: cannot be used"));
  listener_.tls.crl_file.clear();
  EXPECT_EQ(faults(), "");
}

TEST_F(TlsFiles, SayWhenTheFirstRevocationListHasToBeReplaced) {
  EXPECT_EQ(faults(), "");
  EXPECT_EQ(setup_.crl_ends_s, 0) << "there is none";
  listener_.tls.client_certificate = ClientCertificate::required;
  listener_.tls.client_ca_file = folder_.path("good.pem");
  make_certificate(folder_, "other");
  std::string lists;
  const auto add = [&](const std::string& authority, const std::string& until) {
    test::make_crl(folder_, authority, until);
    lists += folder_.read(authority + ".crl");
    listener_.tls.crl_file = folder_.write("lists", lists);
    EXPECT_EQ(faults(), "");
    return setup_.crl_ends_s;
  };
  EXPECT_EQ(add("good", "20360101000000Z"), 2'082'758'400);
  EXPECT_EQ(add("other", "20330101000000Z"), 1'988'150'400);
  EXPECT_EQ(add("other", "20350101000000Z"), 2'051'222'400) << "of one authority the newest counts";
}

TEST_F(TlsFiles, AFaultOfAFurtherCertificateNamesItsPlace) {
  make_certificate(folder_, "other");
  listener_.tls.more_certificate_files = {folder_.path("other.pem"), folder_.path("good.pem")};
  listener_.tls.more_key_files = {folder_.path("other.key"), folder_.path("other.key")};
  EXPECT_THAT(faults(), HasSubstr("tls.more_key_files[1]: does not belong to the certificate"));
  listener_.tls.more_key_files[1] = folder_.path("good.key");
  EXPECT_EQ(faults(), "");
  EXPECT_GT(setup_.certificate_ends_s, 0);
}

TEST_F(TlsFiles, APlainListenerNeedsNone) {
  listener_.transport = Transport::tcp;
  std::vector<TlsFault> faults;
  EXPECT_EQ(make_tls_setup(listener_, faults).context, nullptr);
  EXPECT_TRUE(faults.empty());
}

}  // namespace
}  // namespace millrace::server
