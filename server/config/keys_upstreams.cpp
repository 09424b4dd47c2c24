// The keys of links to other brokers.
#include "server/config/keys.hpp"

namespace millrace::server {

namespace {

Schema<UpstreamRule> upstream_rule_schema() {
  Schema<UpstreamRule> schema;
  schema
      .key(FIELD(direction),
           "`out`: messages published here go to the upstream; `in`: the upstream's come here; "
           "`both`. Must be set")
      .key(FIELD(filter),
           "The topics that the rule covers, as a topic filter, without the prefixes")
      .key(FIELD(local_prefix), "What stands in front of such a topic here, `/` included")
      .key(FIELD(remote_prefix), "What stands in front of such a topic there, `/` included")
      .key(FIELD(qos_max), Limits{0, 2},
           "The highest QoS at which messages cross; those of a higher one cross at this one")
      .key(FIELD(retained),
           "Whether retained messages cross when the link comes up, and RETAIN is kept; otherwise "
           "messages arrive with RETAIN 0")
      .key(FIELD(demand),
           "For the direction `in`: whether the upstream is asked for these topics only while "
           "somebody here subscribes to some of them. Unset: `true`")
      .key(FIELD(ack),
           "When somebody who publishes at QoS 1 or 2 what goes out has its acknowledgement: "
           "`edge`: "
           "when the message is taken here; `upstream`: when the upstream has acknowledged it, "
           "however long that takes")
      .key(FIELD(mode),
           "How what goes out is delivered, as for a client's subscription (docs/delivery.md). "
           "Unset: `latest` if there is a `max_rate_hz`, else `adaptive` if `qos_max` is 0, else "
           "`every`")
      .key(FIELD(max_rate_hz), Limits{0.001, 100'000},
           "The most values of one topic that go out each second; the newest one is always sent. "
           "Unset: no limit")
      .key(FIELD(jetstream),
           "For NATS: what goes out at QoS 1 and 2 goes to a JetStream stream, which acknowledges "
           "it. Otherwise all of it crosses at QoS 0");
  return schema;
}

Schema<UpstreamConfig> upstream_schema() {
  Schema<UpstreamConfig> schema;
  schema
      .key(FIELD(name),
           "The upstream's name in logs, metrics and `$SYS`: letters, digits, `.`, `_` and `-`")
      .key(FIELD(type), "What it speaks: `mqtt`, or `nats` for NATS's own protocol")
      .key(FIELD(addresses),
           "Where it is: `mqtt://host:port`, `mqtts://host:port` for TLS, `ws://host:port/path` or "
           "`wss://host:port/path` for WebSocket; of NATS `nats://host:port`, or `tls://host:port` "
           "for TLS. Several are tried in turn")
      .key(FIELD(version),
           "The version of MQTT that is spoken. Unset: 5, or 3.1.1 if the upstream refuses 5")
      .key(FIELD(client_id),
           "The client identifier of this server there, or the name of its connection to NATS. "
           "Empty: this machine's name, a dot and the upstream's name")
      .key(FIELD(user), "The user name of this server there")
      .key(FIELD(password_file), "The file whose first line is the password of that user")
      .key(FIELD(credentials_file),
           "For NATS, in place of a user: the file of credentials (JWT and seed) of this server")
      .key(FIELD(keep_alive_seconds), Limits{5, 65535},
           "The keep alive. A link that does not answer is given up after at most one and a half "
           "times this")
      .key(FIELD(clean),
           "`true`: the upstream keeps nothing for this server while the link is down; `false`: it "
           "keeps the session, for as long as `session.expiry_max_seconds` says")
      .key(FIELD(retry_max_seconds), Limits{1, 3600},
           "The longest time between two attempts to connect; the first ones follow sooner")
      .key(
          FIELD(hops_max), Limits{1, 64},
          "How many links between brokers a message may cross; one more would drop it. Only MQTT 5 "
          "can count them")
      .key(FIELD(required), "`true`: `/readyz` answers 503 while the link is down")
      .key(
          FIELD(spool.messages), Limits{1, 100'000'000},
          "The most messages of rules of the mode `every` that wait while the link is slow, or, at "
          "QoS 1 and 2, down")
      .key(FIELD(spool.bytes), Limits{kib, 1024 * gib}, "The same limit in bytes")
      .key(FIELD(spool.overflow),
           "What happens when either limit is reached: `drop_oldest` or `drop_newest`")
      .key(FIELD(tls.ca_file),
           "The certificates (PEM) of those who may have signed the upstream's. Empty: those that "
           "the system trusts")
      .key(FIELD(tls.certificate_file),
           "This server's certificate chain (PEM), for an upstream that asks for one")
      .key(FIELD(tls.key_file), "The key (PEM) of that certificate")
      .key(FIELD(tls.key_password_file),
           "The file whose first line is the pass phrase of the key. Empty: the key is not "
           "encrypted")
      .key(FIELD(tls.server_name),
           "The name that the upstream's certificate must be for. Empty: the host of the address")
      .key(FIELD(tls.verify),
           "What is checked of the upstream's certificate: `full`: who signed it and whose it is; "
           "`signer`: only who signed it; `insecure`: nothing, so that anyone in between may read "
           "and change everything")
      .list(FIELD(rules), upstream_rule_schema(), 1'000,
            "Which topics cross the link. No two rules of one direction may match the same topic");
  return schema;
}

}  // namespace

void add_upstreams(Schema<Config>& schema) {
  schema.list(
      FIELD(upstreams), upstream_schema(), 100,
      "Other brokers that this server is connected to as a client. SIGHUP adds, removes and "
      "changes each without touching the others",
      Takes::reload);
}

}  // namespace millrace::server
