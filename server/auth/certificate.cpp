#include "server/auth/certificate.hpp"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <memory>

namespace millrace::server {

namespace {

std::string text_of(const ASN1_STRING* value) {
  unsigned char* bytes = nullptr;
  const int count = ASN1_STRING_to_UTF8(&bytes, value);
  if (count < 0) return "";
  std::string text(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(count));
  OPENSSL_free(bytes);
  // "ann\0.evil" is refused: a program that stops at the zero byte would read it as "ann".
  return text.find('\0') == std::string::npos ? text : "";
}

// The last of them, as RFC 2818 has it: the most specific one.
std::string common_name(const X509_NAME* subject) {
  int index = -1;
  for (int at = -1; (at = X509_NAME_get_index_by_NID(subject, NID_commonName, at)) >= 0;)
    index = at;
  if (index < 0) return "";
  return text_of(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, index)));
}

std::string whole_subject(const X509_NAME* subject) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> out(BIO_new(BIO_s_mem()), BIO_free);
  // RFC 2253, with UTF-8 as it is.
  constexpr unsigned long form = XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB;
  if (!out || X509_NAME_print_ex(out.get(), subject, 0, form) < 0) return "";
  char* text = nullptr;
  const long count = BIO_get_mem_data(out.get(), &text);
  return count > 0 ? std::string(text, static_cast<std::size_t>(count)) : "";
}

std::string alternative_name(const X509* certificate) {
  const std::unique_ptr<GENERAL_NAMES, decltype(&GENERAL_NAMES_free)> names(
      static_cast<GENERAL_NAMES*>(
          X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)),
      GENERAL_NAMES_free);
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    int type = 0;
    const void* value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names.get(), i), &type);
    if (type == GEN_DNS || type == GEN_EMAIL || type == GEN_URI) {
      return text_of(static_cast<const ASN1_STRING*>(value));
    }
  }
  return "";
}

}  // namespace

std::string user_of_certificate(const X509* certificate, CertificateUser part) {
  std::string user;
  if (part == CertificateUser::common_name) user = common_name(X509_get_subject_name(certificate));
  if (part == CertificateUser::subject) user = whole_subject(X509_get_subject_name(certificate));
  if (part == CertificateUser::alternative_name) user = alternative_name(certificate);
  ERR_clear_error();
  return user;
}

bool certificate_holds(X509* certificate, STACK_OF(X509) * chain, SSL_CTX* context) {
  const std::unique_ptr<X509_STORE_CTX, decltype(&X509_STORE_CTX_free)> verification(
      X509_STORE_CTX_new(), X509_STORE_CTX_free);
  bool holds = false;
  // What a handshake sets: the purpose, the depth and the strength that is asked for.
  if (verification &&
      X509_STORE_CTX_init(verification.get(), SSL_CTX_get_cert_store(context), certificate,
                          chain) == 1 &&
      X509_STORE_CTX_set_default(verification.get(), "ssl_client") == 1) {
    X509_STORE_CTX_set_depth(verification.get(), SSL_CTX_get_verify_depth(context));
    X509_VERIFY_PARAM_set_auth_level(X509_STORE_CTX_get0_param(verification.get()),
                                     SSL_CTX_get_security_level(context));
    holds = X509_verify_cert(verification.get()) == 1;
  }
  ERR_clear_error();
  return holds;
}

bool peer_certificate_holds(const SSL* connection, const SSL_CTX* accepted_by, SSL_CTX* newest) {
  X509* const certificate = SSL_get0_peer_certificate(connection);
  if (certificate == nullptr || newest == accepted_by) return true;
  return certificate_holds(certificate, SSL_get_peer_cert_chain(connection), newest);
}

const char* certificate_refusal(const SSL* ssl, unsigned long error) {
  if (SSL_get_verify_mode(ssl) == SSL_VERIFY_NONE) return nullptr;
  const long verified = SSL_get_verify_result(ssl);
  if (verified != X509_V_OK) return X509_verify_cert_error_string(verified);
  const bool showed_none = ERR_GET_LIB(error) == ERR_LIB_SSL &&
                           ERR_GET_REASON(error) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE;
  return showed_none ? ERR_reason_error_string(error) : nullptr;
}

}  // namespace millrace::server
