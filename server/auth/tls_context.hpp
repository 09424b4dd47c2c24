// The TLS side of a listener, or of a link to another broker, made of the files and settings that its
// configuration names: no renegotiation, no compression, idle connections without buffers; for a
// listener, the server's order of ciphers.
//
// `millrace check`, the start and a reload all make it by these functions, so that what one calls
// valid the others accept. Nothing here ever asks on a terminal: a key with a pass phrase needs
// tls.key_password_file.
//
// Threads: any; reads files. A context that was made may be shared by all threads.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "server/config/config.hpp"

namespace millrace::server {

struct TlsSetup {
  std::shared_ptr<boost::asio::ssl::context> context;  // null: the listener is plain, or has faults
  std::int64_t certificate_ends_s = 0;  // when the first of its chain expires, in Unix time
  // When the first of its revocation lists has to be replaced by a newer one, in Unix time: from then
  // on no client's certificate is accepted. 0: there is none, or none says when.
  std::int64_t crl_ends_s = 0;
};

// What is wrong, and with which of the listener's keys ("tls.key_file").
struct TlsFault {
  std::string key;
  std::string message;
};

// Appends to `faults`; without any, a context for a listener that uses TLS.
TlsSetup make_tls_setup(const ListenerConfig& listener, std::vector<TlsFault>& faults);
// The client's side, for a link to another broker and for the commands that ask a server. The name
// that its certificate must be for is set for each connection, by expect_server().
TlsSetup make_client_tls_setup(const UpstreamTlsConfig& upstream, std::vector<TlsFault>& faults);

// Before the handshake of the client's side: tells the server that it is meant, if `name` is no
// address, and holds its certificate to the name or address if `must_match`. False: OpenSSL takes no
// such name, and would check none.
bool expect_server(SSL* ssl, const std::string& name, bool must_match = true);

}  // namespace millrace::server
