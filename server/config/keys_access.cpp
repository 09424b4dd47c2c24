// The keys that say who may do what, how subscriptions are served, and what is logged.
#include "core/broker/shape.hpp"
#include "server/config/keys.hpp"

namespace millrace::server {

namespace {

Schema<HttpTokenConfig> http_token_schema() {
  Schema<HttpTokenConfig> schema;
  schema
      .key(FIELD(name),
           "The token's name, which access.rules take for a user's: they say which topics it may "
           "read and publish to")
      .key(FIELD(token_file),
           "A file whose first line is the token: at least 32 characters of `A-Z a-z 0-9 -._~+/=`, "
           "as `openssl rand -hex 32` makes it")
      .key(FIELD(scopes),
           "What it may be used for: `metrics`; `read` topics and what the API shows; `publish`; "
           "`manage`, as access.administrators do");
  return schema;
}

Schema<AccessRule> access_rule_schema() {
  Schema<AccessRule> schema;
  schema.key(FIELD(effect), "Whether the rule allows or denies")
      .key(FIELD(user),
           "The user whom the rule concerns. Unset: everybody; empty: clients without a user name")
      .key(FIELD(client_id),
           "The client identifier that the rule concerns; with `*` at its end, all that begin so. "
           "Unset: any. A client may call itself what it likes, unless something else binds it")
      .key(FIELD(address),
           "The addresses that the rule concerns: `10.1.2.3`, `10.0.0.0/8`, `fd00::/8`. Empty: all")
      .key(FIELD(listener),
           "The name of the listener that the rule concerns; `http` is HTTP, `local` are processes "
           "at `local.socket`. Unset: all")
      .key(
          FIELD(action),
          "The action that the rule concerns. `all` is `publish` and `subscribe`; `receive` limits "
          "further which topics a subscription brings, and what no such rule matches is brought")
      .key(FIELD(filter),
           "The topics that the rule concerns, as a topic filter. `%u` stands for the user name, "
           "`%c` for the client identifier. Where that is empty, begins with `$` or contains `+`, "
           "`#` or `/`, a rule that allows matches nothing, and one that denies has `+` for the "
           "level, or `#` from there on if it contains `/`: it denies more, and never less")
      .key(FIELD(qos_max), Limits{0, 2},
           "For `allow`: the rule does not concern messages that are published at a higher QoS, "
           "and grants subscriptions no higher one")
      .key(FIELD(retained),
           "For `publish`: whether the rule concerns messages that are to be retained (`true`) or "
           "the others (`false`). Unset: both")
      .key(FIELD(reason),
           "For `deny`: the reason code that an MQTT 5 client gets. `unspecified` (0x80) does not "
           "reveal that there is a rule, so topic names cannot be found out by trying. MQTT 3.1.1 "
           "clients always get 0x80");
  return schema;
}

Schema<DeliveryRule> delivery_rule_schema() {
  Schema<DeliveryRule> schema;
  schema
      .key(FIELD(filter),
           "Applies to subscriptions whose filter is covered by this one. Unset: to all")
      .key(FIELD(user),
           "Applies to subscriptions of this user. Unset: to those of all; empty: of clients "
           "without a user name")
      .key(FIELD(listener),
           "Applies to subscriptions made through the listener of this name. Unset: through any")
      .key(FIELD(mode),
           "The delivery mode of these subscriptions. Unset: what the client asked for")
      .key(FIELD(max_rate_hz), Limits{0.001, 100'000},
           "The most values of one topic that are sent in a second. Unset: what the client asked "
           "for")
      .key(
          FIELD(budget_bytes_per_s), Limits{1, gib},
          "The most bytes a second of values that may be replaced (`latest` and `adaptive`) that a "
          "client with such a subscription is sent; it may ask for less. Unset: what it asked for")
      .key(FIELD(unchanged),
           "`skip`: a value that is what this subscriber was sent last of its topic is not sent "
           "again. Unset: what the client asked for")
      .key(FIELD(delta), Limits{1e-9, 1e12},
           "A number is sent when it differs by this or more from the one that was sent last; what "
           "is no number, when it is another. Unset: what the client asked for")
      .key(FIELD(delta_percent), Limits{1e-9, 1e12}, "The same, in per cent of what was sent last")
      .key(FIELD(field),
           "What `unchanged` and `delta` compare of a JSON payload, as a JSON pointer "
           "(`/sensor/temperature`); for payloads of up to 64 KiB. Unset: what the client asked "
           "for, "
           "or the whole payload")
      .key(FIELD(heartbeat_s), Limits{1, 4'294'967'295},
           "For so many seconds at most, values that are unchanged are not sent. Unset: what the "
           "client asked for, or for good")
      .key(FIELD(tick_ms), Limits{tick_ms_min, tick_ms_max},
           "A client with such a subscription is sent what may be replaced (`latest` and "
           "`adaptive`) "
           "once in so many milliseconds: all that is new then, at once. Unset: what it asked for")
      .key(
          FIELD(history), Limits{0, history_depth_max},
          "So many of the last values of each topic, of those that are kept (`history.depth`), are "
          "what such a subscription of an MQTT client begins with; 0: none. Unset: what the client "
          "asked for")
      .key(
          FIELD(weight), Limits{1, broker::weight_max},
          "How often the topics of these subscriptions are served, in proportion to others, while "
          "more waits for their client than it takes; other topics have 10. Unset: what the client "
          "asked for");
  return schema;
}

}  // namespace

void add_access(Schema<Config>& schema) {
  schema
      .key(FIELD(access.allow_anonymous),
           "Whether a client without a user name may connect. Unset: yes, as long as none of "
           "access.password_file, access.scram_file, keys of access.jwt and access.http is set and "
           "nothing listens beyond loopback",
           Takes::reload)
      .key(FIELD(access.password_file),
           "The file with users and password hashes, made by `millrace passwd` or "
           "`mosquitto_passwd`",
           Takes::reload)
      .key(FIELD(access.scram_file),
           "The file with users and SCRAM keys, made by `millrace passwd --scram`; if it is set, "
           "MQTT 5 clients can authenticate by SCRAM-SHA-256",
           Takes::reload)
      .key(FIELD(access.jwt.keys_file),
           "The public keys by which tokens (JWT) are verified: PEM, or a JWK set. A key's kind is "
           "its algorithm: RSA RS256, P-256 ES256, Ed25519 EdDSA, a secret (`oct`) HS256. If it is "
           "set, clients can send a token as their password, or by the authentication method `JWT`",
           Takes::reload)
      .key(FIELD(access.jwt.secret_file),
           "A file whose content, without a line end, is a secret of at least 32 bytes for HS256",
           Takes::reload)
      .key(FIELD(access.jwt.issuer), "What a token's `iss` must be. Empty: it is not asked",
           Takes::reload)
      .key(FIELD(access.jwt.audience),
           "What a token's `aud` must be or contain. Empty: tokens that name an audience are "
           "refused",
           Takes::reload)
      .key(FIELD(access.jwt.leeway_seconds), Limits{0, 3600},
           "How far the clocks of issuer and server may differ, for `exp`, `nbf` and `iat`",
           Takes::reload)
      .key(FIELD(access.jwt.expiry_required), "Whether a token without `exp` is refused",
           Takes::reload)
      .key(FIELD(access.jwt.user_claim), "The claim that is the user name", Takes::reload)
      .key(FIELD(access.jwt.acl_claim),
           "The claim with the client's own rules, `{\"publish\": [filters], \"subscribe\": "
           "[filters], \"all\": [filters]}`: what it does not name is denied, and so is what "
           "access.rules deny. A token without it is refused. Empty: tokens carry no rules",
           Takes::reload)
      .key(FIELD(access.http.authenticate_url),
           "The URL (`http://127.0.0.1:8080/login`, or https) of a service that is asked whether "
           "name "
           "and password of a client of MQTT are right, by a POST of JSON. It is not asked for "
           "users of access.password_file, nor for tokens")
      .key(FIELD(access.http.authorize_url),
           "The URL that is then asked what the client may publish and subscribe to. Empty: "
           "access.rules alone say it; else they say it too, and what either denies is denied")
      .key(
          FIELD(access.http.ca_file),
          "For https: the certificates of the authorities that may have signed the service's, PEM; "
          "the file is read again on SIGHUP. Empty: the system's")
      .key(FIELD(access.http.timeout_ms), Limits{10, 60'000},
           "The time in which the service has to answer, waiting included")
      .key(FIELD(access.http.connections_max), Limits{1, 1000},
           "The most requests to the service at once; further ones wait")
      .key(
          FIELD(access.http.waiting_max), Limits{1, 1'000'000},
          "The most clients that wait for the service, a quarter of them from one address; further "
          "ones are told `server busy`")
      .key(FIELD(access.http.cache_seconds), Limits{0, 86'400},
           "How long an answer is remembered, for the same client with the same password from the "
           "same address; SIGHUP forgets all. 0: not at all")
      .key(FIELD(access.http.cache_max), Limits{0, 1'000'000},
           "The most answers that are remembered")
      .key(FIELD(access.http.on_failure),
           "What happens to a client if the service does not answer as it should: `deny` refuses "
           "it; `allow` lets it in as whom it says it is, unproven")
      .key(FIELD(access.password_checks_max), Limits{1, 1'000'000},
           "The most clients whose password waits to be checked, at most half of them over HTTP, "
           "and three quarters from one address; further ones are told `server busy`, or 503",
           Takes::reload)
      .key(FIELD(access.login_delay_max_ms), Limits{0, 600'000},
           "The longest time that a login waits after failed ones from its address or with its "
           "user name; the first few wait for nothing, then each doubles the time; 0: none waits",
           Takes::reload)
      .key(
          FIELD(access.ban.failures), Limits{0, 1'000'000},
          "How many failed logins over MQTT and HTTP within access.ban.window_seconds ban an "
          "address (of IPv6: a /64) that is not loopback: its MQTT connections are closed as soon "
          "as it is known, its HTTP requests answered with 403, but for health and public metrics. "
          "SIGHUP lifts all bans. 0: nobody is banned")
      .key(
          FIELD(access.ban.connections), Limits{0, 10'000'000},
          "How many new MQTT connections within access.ban.window_seconds an address may make; one "
          "more bans it likewise: its clients connect and leave again and again. It has to be well "
          "above the clients of an address, which may all return at once. 0: any number")
      .key(FIELD(access.ban.window_seconds), Limits{1, 86'400},
           "The time in which they are counted")
      .key(FIELD(access.ban.seconds), Limits{1, 2'592'000}, "How long a ban lasts")
      .key(FIELD(access.administrators),
           "The users who may disconnect clients, lift bans, reload the configuration and end the "
           "server over HTTP, by their password or by a token that carries no rules. None: nobody "
           "may",
           Takes::reload)
      .list(
          FIELD(access.http_tokens), http_token_schema(), 100,
          "Tokens that programs show over HTTP (`Authorization: Bearer`), each for some purposes. "
          "They are no way into MQTT",
          Takes::reload)
      .list(FIELD(access.rules), access_rule_schema(), 10'000,
            "Who may do what; the first rule that matches decides. A rule matches a subscription "
            "if it covers its whole filter. A denying rule that covers only a part of it takes out "
            "that part: `#` is granted and brings everything else",
            Takes::reload)
      .key(FIELD(access.otherwise),
           "What applies if no rule matches. Unset: `deny`, or `allow` if there are no rules",
           Takes::reload)
      .list(FIELD(delivery.rules), delivery_rule_schema(), 1'000,
            "How subscriptions are served, whatever their clients ask for; the first rule that "
            "matches decides. A change applies to subscriptions that are made later",
            Takes::reload)
      .key(FIELD(log.level), "The lowest level that is logged; the log goes to standard error",
           Takes::reload)
      .key(FIELD(log.format), "The form of the log: lines of text, or one JSON object a line",
           Takes::reload)
      .key(FIELD(log.repeat_seconds), Limits{0, 86'400},
           "The time in which a fault that a peer repeats is logged once, with a count; 0: it is "
           "logged each time",
           Takes::reload)
      .key(FIELD(sys.interval_seconds), Limits{0, 86'400},
           "How often the figures below `$SYS/broker/` are published (mosquitto's names, "
           "retained); 0: never");
}

}  // namespace millrace::server
