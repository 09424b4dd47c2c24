#include "server/cli/tls_options.hpp"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include <boost/algorithm/string/replace.hpp>
#include <boost/asio/ssl/error.hpp>
#include <stdexcept>
#include <utility>
#include <vector>

#include "server/auth/tls_context.hpp"
#include "server/cli/cli.hpp"

namespace millrace::server {

namespace po = boost::program_options;
namespace asio = boost::asio;

namespace {

// Each option, and the key that a link to another broker has for the same.
constexpr std::pair<const char*, const char*> options_and_keys[] = {
    {"ca-file", "tls.ca_file"},
    {"cert-file", "tls.certificate_file"},
    {"key-file", "tls.key_file"},
    {"key-password-file", "tls.key_password_file"},
};

std::string text_of(const po::variables_map& values, const char* option) {
  return values.count(option) > 0 ? values[option].as<std::string>() : "";
}

// "--ca-file cannot be used: ..."
std::string in_words_of_options(const TlsFault& fault) {
  std::string text = fault.key + " " + fault.message;
  for (const auto& [option, key] : options_and_keys) {
    boost::replace_all(text, key, std::string("--") + option);
  }
  return text;
}

// What the handshake, or the server's answer to it, broke off with.
std::string alert_in_words(const boost::system::error_code& error) {
  if (error.category() != asio::error::get_ssl_category()) return error.message();
  switch (ERR_GET_REASON(static_cast<unsigned long>(error.value()))) {
    case SSL_R_WRONG_VERSION_NUMBER:
      return "it does not speak TLS (" + error.message() + "): write http:// in its URL";
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
      return "it wants a client's certificate: --cert-file and --key-file have to name one";
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
      return "it does not take the certificate of --cert-file: " + error.message();
    default:
      return error.message();
  }
}

}  // namespace

void add_tls_options(po::options_description& options) {
  options.add_options()("ca-file", po::value<std::string>()->value_name("FILE"),
                        "with https://: PEM of whoever may have signed the server's certificate; "
                        "without it, those whom this machine trusts");
  options.add_options()("cert-file", po::value<std::string>()->value_name("FILE"),
                        "with https://: PEM of a client's certificate, where the server wants one");
  options.add_options()("key-file", po::value<std::string>()->value_name("FILE"),
                        "PEM of the key of --cert-file");
  options.add_options()("key-password-file", po::value<std::string>()->value_name("FILE"),
                        "a file whose first line opens that key");
}

bool has_tls_options(const po::variables_map& values) {
  for (const auto& [option, key] : options_and_keys) {
    if (values.count(option) > 0) return true;
  }
  return false;
}

std::shared_ptr<asio::ssl::context> client_tls(const HttpUrl& url,
                                               const po::variables_map& values) {
  if (!url.uses_tls) {
    if (!has_tls_options(values)) return nullptr;
    throw UsageError(
        "--ca-file, --cert-file, --key-file and --key-password-file need a URL that begins with "
        "https://");
  }
  if (values.count("cert-file") != values.count("key-file")) {
    throw UsageError("--cert-file and --key-file belong together");
  }
  if (values.count("key-password-file") > values.count("key-file")) {
    throw UsageError("--key-password-file needs --key-file");
  }
  UpstreamTlsConfig config;
  config.ca_file = text_of(values, "ca-file");
  config.certificate_file = text_of(values, "cert-file");
  config.key_file = text_of(values, "key-file");
  config.key_password_file = text_of(values, "key-password-file");
  std::vector<TlsFault> faults;
  TlsSetup setup = make_client_tls_setup(config, faults);
  if (!faults.empty()) throw std::runtime_error(in_words_of_options(faults.front()));
  return std::move(setup.context);
}

std::string tls_failure(const SSL* ssl, const HttpUrl& url,
                        const boost::system::error_code& error) {
  const long verdict = SSL_get_verify_result(ssl);
  const std::string reason = X509_verify_cert_error_string(verdict);
  switch (verdict) {
    case X509_V_OK:
      return alert_in_words(error);
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return "its certificate is not for " + url.host +
             ": the URL needs a name that the certificate has";
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return "its certificate is not trusted (" + reason +
             "): --ca-file has to name a file with the certificate of whoever signed it";
    default:
      return "its certificate is not valid: " + reason;
  }
}

}  // namespace millrace::server
