// The keys of what clients come to: listeners, HTTP, connections.
#include "server/config/keys.hpp"

namespace millrace::server {

namespace {

Schema<ListenerConfig> listener_schema() {
  Schema<ListenerConfig> schema;
  schema
      .key(FIELD(name),
           "The listener's name in rules, logs and metrics. If unset, its transport, with a number "
           "from the second one on: `tcp`, `tcp-2`")
      .key(FIELD(transport),
           "What MQTT is carried by: TCP, TLS, WebSocket, WebSocket inside TLS (`wss`), or a Unix "
           "socket for processes of this machine (`unix`)")
      .key(FIELD(host), "The address to listen on: one of this machine, or `localhost`")
      .key(FIELD(port), Limits{0, 65535},
           "The port to listen on; 0: any free port, which the log names. If unset, by transport: "
           "1883, 8883 (`tls`), 8083 (`ws`), 8084 (`wss`)")
      .key(FIELD(socket),
           "For `unix`: the path of the socket's file; host and port have no meaning. A "
           "lock file stands beside it, named alike with `.lock` at the end, and stays when the "
           "server ends")
      .key(FIELD(socket_mode), "For `unix`: the file's mode, which says who may connect")
      .key(FIELD(peer_user),
           "For `unix`: whether the user whose process connects is the client's user name, as the "
           "kernel says it: `uid:1000`. It then counts as verified")
      .key(FIELD(path),
           "For `ws` and `wss`: the paths at which a request is upgraded to WebSocket, with or "
           "without a `/` at the end")
      .key(FIELD(origins),
           "For `ws` and `wss`: the origins (`https://example.com`) of web pages that may connect, "
           "besides pages of the host that is asked for; `*`: all. Clients that are no browsers "
           "send no origin and are not restricted")
      .key(FIELD(proxy_protocol_from),
           "The addresses (`10.0.0.0/8`) of proxies. Their connections, and theirs alone, have to "
           "begin with a header of the PROXY protocol, version 1 or 2; the address that it names "
           "is then the client's, in rules, limits and the log")
      .key(FIELD(forwarded_from),
           "For `ws` and `wss`: the addresses of proxies whose `X-Forwarded-For` is believed; read "
           "from its end, the first address that is none of them is the client's")
      .key(FIELD(connections_max), Limits{0, 10'000'000},
           "The most connections of this listener at once; further ones are told `quota exceeded`. "
           "0: as many as connection.count_max allows")
      .key(FIELD(messages_per_second), Limits{0, 100'000'000},
           "The most PUBLISH packets in a second from all clients of this listener; a further one "
           "waits, with all that its client sends after it. 0: no limit")
      .key(FIELD(bytes_per_second), Limits{0, 1024 * gib}, "The same limit for the bytes in them")
      .key(FIELD(drop_qos0_over_rate),
           "Whether messages of QoS 0 that exceed these two limits are dropped, and counted, "
           "instead "
           "of waiting; those of QoS 1 and 2 wait either way")
      .key(FIELD(tls.certificate_file),
           "For `tls` and `wss`: the certificate chain, PEM; the file is read again on SIGHUP")
      .key(FIELD(tls.key_file),
           "For `tls` and `wss`: the private key of the certificate, PEM; the file is read again "
           "on SIGHUP")
      .key(FIELD(tls.key_password_file),
           "A file whose first line is the pass phrase of an encrypted key; the file is read again "
           "on SIGHUP")
      .key(FIELD(tls.more_certificate_files),
           "Further certificate chains, PEM. A client that asks for a name (SNI) gets the first "
           "certificate that has it, and `tls.certificate_file` if none has; the files are read "
           "again on SIGHUP")
      .key(FIELD(tls.more_key_files),
           "The private keys of these certificates, PEM, in the same order. "
           "`tls.key_password_file` opens them too")
      .key(FIELD(tls.session_tickets),
           "Whether clients may resume their TLS sessions. Tickets are sealed with a key that is "
           "replaced each hour and on SIGHUP. Where client certificates are asked for there are "
           "none, since a resumed session shows no certificate")
      .key(FIELD(tls.version_min), "The oldest version of TLS that a client may use")
      .key(FIELD(tls.ciphers),
           "The ciphers of TLS 1.2, as an OpenSSL cipher list; ciphers without ECDHE or AEAD are "
           "refused")
      .key(FIELD(tls.cipher_suites),
           "The cipher suites of TLS 1.3, by OpenSSL's names; empty: OpenSSL's default")
      .key(FIELD(tls.client_certificate),
           "Whether clients are asked for a certificate: `optional` also accepts clients without "
           "one, `required` does not")
      .key(FIELD(tls.client_ca_file),
           "The certificates of the authorities that sign clients' certificates, PEM; the file is "
           "read again on SIGHUP")
      .key(
          FIELD(tls.crl_file),
          "The lists of revoked client certificates (CRL), PEM, one of each authority; the file is "
          "read again on SIGHUP")
      .key(FIELD(tls.user_from),
           "The part of a client's certificate that is its user name, which then counts as "
           "verified without a password: `common_name`, `alternative_name` (the first DNS name, "
           "e-mail address or URI) or `subject` (the whole subject as RFC 2253 writes it)");
  return schema;
}

Schema<HttpListenerConfig> http_listener_schema() {
  Schema<HttpListenerConfig> schema;
  schema.key(FIELD(host), "The address to listen on: one of this machine, or `localhost`")
      .key(FIELD(port), Limits{0, 65535}, "The port; 0: any free port, which the log names")
      .key(FIELD(serves), "What is served there, as `http.serves` has it")
      .key(FIELD(tls.certificate_file),
           "The certificate chain, PEM; with it, HTTP is inside TLS there. The file is read again "
           "on SIGHUP, as are the other ones of this entry")
      .key(FIELD(tls.key_file), "The private key of the certificate, PEM")
      .key(FIELD(tls.key_password_file),
           "A file whose first line is the pass phrase of an encrypted key")
      .key(FIELD(tls.version_min), "The oldest version of TLS that a client may use")
      .key(FIELD(tls.client_certificate),
           "Whether clients are asked for a certificate: `optional` also accepts clients without "
           "one, `required` does not. It lets them in, but gives them no name")
      .key(FIELD(tls.client_ca_file),
           "The certificates of the authorities that sign clients' certificates, PEM")
      .key(FIELD(tls.crl_file),
           "The lists of revoked client certificates (CRL), PEM, one of each authority");
  return schema;
}

}  // namespace

void add_front_end(Schema<Config>& schema) {
  schema
      .list(FIELD(listeners), listener_schema(), 64,
            "Addresses and ports at which the server accepts MQTT. A list given here replaces the "
            "default one: `tcp` on 1883 and `ws` on 8083, both on 127.0.0.1")
      .key(FIELD(tls_files.watch_seconds), Limits{0, 86'400},
           "How often it is looked whether the files of TLS have changed: certificates, keys, "
           "authorities, revocation lists, and the passwords of upstreams. They are then read "
           "again, together, and nothing else. 0: on SIGHUP alone")
      .key(FIELD(http.host), "The address at which HTTP (metrics, health, topics) is served")
      .key(FIELD(http.port), Limits{0, 65535},
           "The port of HTTP; 0: any free port, which the log names")
      .key(FIELD(http.serves),
           "What is served there: `metrics` (with health), `topics` (with `/events`), `api` (with "
           "the page). What is not served is answered with 404")
      .list(FIELD(http.listeners), http_listener_schema(), 16,
            "Further addresses and ports of HTTP, each with TLS or without")
      .key(FIELD(http.metrics_public),
           "Whether anybody may read `/metrics`. `false`: a token with the scope `metrics`, or a "
           "user who may subscribe to `$SYS/#`. Health asks nobody")
      .key(FIELD(http.hosts),
           "The host names that a request may be addressed to (`Host`), besides `localhost` and "
           "numeric addresses; `*`: any name. Requests to other names are answered with 421, since "
           "a web page can make a name of its own resolve to this server")
      .key(FIELD(http.origins),
           "The origins (`https://example.com`) of web pages that may read `/topics` and `/events` "
           "from another host (CORS); `*`: all. Pages send no password of their own accord; theirs "
           "are asked for as anybody's")
      .key(FIELD(http.connections_max), Limits{1, 65535},
           "The most HTTP connections at once. For a further one the connection is closed that has "
           "asked for nothing for longest; if all are busy, the further one gets health and "
           "metrics alone")
      .key(FIELD(http.connections_per_address_max), Limits{0, 65535},
           "The most HTTP connections of one address (of IPv6: one /64) at once; a proxy is one "
           "address. For a further one the connection of that address is closed that has asked for "
           "nothing for longest; if all are busy, the further one gets health and metrics, and 429 "
           "for everything else. 0: no limit")
      .key(FIELD(http.header_bytes_max), Limits{256, mib},
           "The largest header of a request; a larger one is answered with 431")
      .key(FIELD(http.body_bytes_max), Limits{0, 64 * mib},
           "The largest body of a request; a larger one is answered with 413")
      .key(FIELD(http.idle_seconds), Limits{1, 3600},
           "The longest time that a connection waits for its first or next request")
      .key(FIELD(http.header_seconds), Limits{1, 3600},
           "The time in which the header of a request has to arrive, from its first byte")
      .key(FIELD(http.timeout_seconds), Limits{1, 3600},
           "The time in which the body of a request has to arrive, and in which its answer has to "
           "be read")
      .key(FIELD(http.long_polls_max), Limits{0, 65535},
           "The most requests that wait for a newer value at once (`Prefer: wait`); further ones "
           "are answered with 503")
      .key(FIELD(http.wait_seconds_max), Limits{1, 3600},
           "The longest time that such a request waits, whatever it asks for")
      .key(FIELD(http.event_streams_max), Limits{0, 65535},
           "The most readers of `/events` at once; further ones are answered with 503. Each takes "
           "one of `http.connections_max`")
      .key(FIELD(threads.io), Limits{0, 256},
           "The number of threads that serve MQTT connections; 0: cores - 1, at least 1")
      .key(FIELD(connection.count_max), Limits{1, 10'000'000},
           "The most MQTT connections at once; further ones are told `quota exceeded`",
           Takes::reload)
      .key(FIELD(connection.turned_away_max), Limits{0, 1'000'000},
           "The most connections beyond that limit that are kept until they have been told so, and "
           "as many beyond the limits below; further ones are closed at once",
           Takes::reload)
      .key(FIELD(connection.per_address_max), Limits{0, 10'000'000},
           "The most MQTT connections of one address (of IPv6: one /64) at once; further ones are "
           "told `quota exceeded`, or closed before TLS begins. 0: no limit")
      .key(FIELD(connection.per_user_max), Limits{0, 10'000'000},
           "The most clients of one user at once, those without a user name excepted; further "
           "ones are told `quota exceeded`. 0: no limit")
      .key(FIELD(connection.per_second_max), Limits{0, 10'000'000},
           "The most new MQTT connections in a second; further ones are told "
           "`connection rate exceeded`, or closed before TLS begins. 0: no limit")
      .key(FIELD(connection.per_second_and_address_max), Limits{0, 10'000'000},
           "The same limit for those of one address (of IPv6: one /64)")
      .key(FIELD(connection.messages_per_second), Limits{0, 100'000'000},
           "The most PUBLISH packets in a second from one client; a further one waits, with all "
           "that the client sends after it. What one user publishes over HTTP counts as one "
           "client's, and a further message is refused (429). 0: no limit")
      .key(FIELD(connection.bytes_per_second), Limits{0, 1024 * gib},
           "The same limit for the bytes in them")
      .key(FIELD(connection.drop_qos0_over_rate),
           "Whether a client's messages of QoS 0 that exceed these two limits are dropped, and "
           "counted, instead of waiting; those of QoS 1 and 2 wait either way")
      .key(FIELD(connection.unapplied_bytes), Limits{4 * kib, gib},
           "The most bytes that one connection has submitted and the processor has not yet "
           "applied; a connection that reaches this is not read until they have become fewer")
      .key(FIELD(connection.unapplied_commands), Limits{16, 1'048'576},
           "The same limit as a number of commands")
      .key(FIELD(connection.read_bytes), Limits{4 * kib, 16 * mib},
           "The most bytes that are read from a socket at once")
      .key(FIELD(connection.tcp_keep_alive_seconds), Limits{0, 32'767},
           "The time without any byte after which TCP keep-alive probes ask whether the client's "
           "machine is still there; 0: no probes")
      .key(FIELD(connection.tcp_user_timeout_seconds), Limits{0, 86'400},
           "The time after which a connection ends when the client's machine acknowledges nothing, "
           "or takes none of the bytes that wait (TCP_USER_TIMEOUT); 0: the system's default")
      .key(FIELD(packet_bytes_max), Limits{128, 255 * mib},
           "The largest packet that a client may send; MQTT 5 clients are told it as Maximum "
           "Packet Size. It may become larger inside: an alias is replaced by its topic")
      .key(FIELD(connect_bytes_max), Limits{128, 16 * mib}, "The largest CONNECT packet")
      .key(FIELD(connect_timeout_seconds), Limits{1, 3600},
           "The time from accepting a connection to its whole CONNECT packet")
      .key(FIELD(drain_seconds), Limits{0, 3600},
           "The longest time from SIGTERM to the end of the process, in which what is queued is "
           "still delivered");
}

void prepare_item(ListenerConfig& listener, const Json& value) {
  const auto transport = value.is_object() ? value.find("transport") : value.end();
  if (transport == value.end()) return;
  if (*transport == "tls") listener.port = 8883;
  if (*transport == "ws") listener.port = 8083;
  if (*transport == "wss") listener.port = 8084;
  if (*transport == "unix") listener.port = 0;
}

}  // namespace millrace::server
