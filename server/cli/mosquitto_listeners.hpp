// The listeners of mosquitto.conf: one that the lines before the first `listener` describe, and those
// that `listener` begins.
//
// Threads: none of its own.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "server/cli/mosquitto_conf.hpp"

namespace millrace::server::mosquitto {

class Listeners {
 public:
  using Note = std::function<void(const Directive&, std::string why)>;

  explicit Listeners(Note note) : note_(std::move(note)) {}

  // True if the line is about a listener, and taken or noted.
  bool take(const Directive& line);
  // As the key `listeners`. Where mosquitto would listen for this machine alone, so does this.
  nlohmann::ordered_json json();
  // 0: mosquitto listens for this machine alone, and lets everybody in unless it is told not to.
  std::size_t named_count() const;
  // The sum of max_connections; none: one of them has no limit.
  std::optional<std::int64_t> connections_max() const;
  // The lowest max_qos of all.
  int qos_max() const;

 private:
  struct Listener {
    Directive began;
    bool named = false;  // it exists
    bool websocket = false, verifies = false;
    std::string host;
    std::string socket;  // of this machine; empty: TCP
    std::int64_t port = 1883;
    std::int64_t connections_max = -1;
    int qos_max = 2;
    std::string certificate, key, authorities, crl, version, ciphers, suites, user_from;
  };

  Listener& now() { return all_.back(); }
  void begin(const Directive& line);
  void take_port(const Directive& line);
  void take_version(const Directive& line);
  void take_connections_max(const Directive& line);
  nlohmann::ordered_json json_of(const Listener& listener);
  nlohmann::ordered_json tls_of(const Listener& listener);

  const Note note_;
  std::vector<Listener> all_ =
      std::vector<Listener>(1);  // the first: what stands before any `listener`
};

}  // namespace millrace::server::mosquitto
