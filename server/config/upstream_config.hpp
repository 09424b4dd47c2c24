// The part of the configuration that is about links to other brokers: the key `upstreams`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "server/config/choices.hpp"

namespace millrace::server {

// Of mqtts:// addresses.
struct UpstreamTlsConfig {
  std::string ca_file;            // PEM: who may have signed; empty: the system's
  std::string certificate_file;   // PEM: of this server, if the upstream asks for one
  std::string key_file;           // PEM
  std::string key_password_file;  // its first line opens the key
  std::string server_name;        // whose certificate it must be; empty: the address's host
  TlsVerify verify = TlsVerify::full;

  friend bool operator==(const UpstreamTlsConfig&, const UpstreamTlsConfig&) = default;
};

// Which topics cross the link, and how. Here a topic is `local_prefix` and what `filter` matches;
// there it is `remote_prefix` and the same.
struct UpstreamRule {
  std::optional<Direction> direction;  // must be set
  std::string filter = "#";
  std::string local_prefix;
  std::string remote_prefix;
  std::uint32_t qos_max = 2;
  bool retained = true;
  std::optional<bool> demand;         // see follows_demand()
  AckBy ack = AckBy::edge;            // of what leaves
  std::optional<DeliveryMode> mode;   // of what leaves; see mode_out()
  std::optional<double> max_rate_hz;  // of what leaves
  bool jetstream = false;             // of what leaves to NATS: a stream acknowledges it

  bool goes_out() const { return direction != Direction::in; }
  bool comes_in() const { return direction != Direction::out; }
  // It is subscribed to there only while somebody subscribes here.
  bool follows_demand() const { return direction == Direction::in && demand.value_or(true); }
  DeliveryMode mode_out() const {
    if (mode) return *mode;
    if (max_rate_hz) return DeliveryMode::latest;  // a rate limit keeps the newest value only
    return qos_max == 0 ? DeliveryMode::adaptive : DeliveryMode::every;
  }
  friend bool operator==(const UpstreamRule&, const UpstreamRule&) = default;
};

// What waits for a link that is slow or down.
struct SpoolConfig {
  std::uint32_t messages = 100'000;
  std::uint64_t bytes = 64ull << 20;
  OverflowPolicy overflow = OverflowPolicy::drop_oldest;

  friend bool operator==(const SpoolConfig&, const SpoolConfig&) = default;
};

// Another broker, to which this server is a client.
struct UpstreamConfig {
  std::string name;  // unique; in logs, metrics and $SYS
  UpstreamType type = UpstreamType::mqtt;
  std::vector<std::string> addresses;  // see upstream_address.hpp; tried in turn
  std::optional<MqttVersion> version;  // unset: 5, or 3.1.1 where 5 is refused
  std::string client_id;               // empty: this machine's name, a dot and the upstream's name
  std::string user;
  std::string password_file;     // its first line
  std::string credentials_file;  // of NATS
  std::uint32_t keep_alive_seconds = 60;
  bool clean = false;  // the upstream keeps no session while the link is down
  std::uint32_t retry_max_seconds = 60;
  std::uint32_t hops_max = 8;
  bool required = false;  // the server is ready only while the link is up
  SpoolConfig spool;
  UpstreamTlsConfig tls;
  std::vector<UpstreamRule> rules;

  friend bool operator==(const UpstreamConfig&, const UpstreamConfig&) = default;
};

}  // namespace millrace::server
