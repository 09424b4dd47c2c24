// A client's certificate: the user name in it, and whether it still holds. Pure; any thread.
#pragma once

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <string>

#include "server/config/config.hpp"

namespace millrace::server {

// Empty: it has no such part, or one that is no name (a zero byte in it). `part` is not `none`.
std::string user_of_certificate(const X509* certificate, CertificateUser part);

// Whether a new handshake with this context would accept the certificate that a client has shown.
// `chain`: what it sent with it; may be null.
bool certificate_holds(X509* certificate, STACK_OF(X509) * chain, SSL_CTX* context);
// Whether `newest` would accept the certificate that the other end of this connection has shown, and
// `accepted_by` has accepted; true if it has shown none.
bool peer_certificate_holds(const SSL* connection, const SSL_CTX* accepted_by, SSL_CTX* newest);

// Why the server's side refused a handshake, in OpenSSL's words, where the client's certificate is why:
// its own fault, or that of an authority or a revocation list. Null: something else is. `error`: what
// OpenSSL's queue of errors has of it.
const char* certificate_refusal(const SSL* ssl, unsigned long error);

}  // namespace millrace::server
