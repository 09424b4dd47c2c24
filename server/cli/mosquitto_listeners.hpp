// The listeners of mosquitto.conf: one that the lines before the first `listener` describe, and those
// that `listener` begins.
//
// A listener that any line about TLS belongs to is one of TLS, though mosquitto takes it for a plain
// one where certfile or keyfile is missing: what was meant to be encrypted must not become plain
// without a word.
//
// Threads: none of its own.
#pragma once

#include <cstddef>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "server/cli/mosquitto_conf.hpp"

namespace millrace::server::mosquitto {

class Listeners {
 public:
  explicit Listeners(Note note) : note_(std::move(note)) {}

  // True if the line is about a listener, and taken or noted.
  bool take(const Directive& line);
  // As the key `listeners`. Where mosquitto would listen for this machine alone, so does this.
  nlohmann::ordered_json json();
  // Mosquitto listens for this machine alone, and lets everybody in unless it is told not to.
  bool is_local() const {
    return all_.size() == 1 && !all_.front().named && !all_.front().left_out;
  }
  // The place of the listener that lines are about now, and those of all that there are.
  std::size_t current() const { return all_.size() - 1; }
  std::vector<std::size_t> places() const;
  // The sum of max_connections; none: one of them has no limit.
  std::optional<std::int64_t> connections_max() const;
  // The lowest max_qos of all.
  int qos_max() const;

 private:
  struct Listener {
    Directive began;
    bool named = false;     // it is asked for
    bool left_out = false;  // it cannot be had
    bool websocket = false;
    bool verifies = false, by_identity = false, by_subject = false;  // by the clients' certificates
    bool uses_tls = false;                                           // there is a line about TLS
    std::string host;
    std::string socket;  // of this machine; empty: TCP
    std::int64_t port = 1883;
    std::int64_t connections_max = -1;
    std::optional<Directive> qos;
    int qos_max = 2;
    std::string certificate, key, authorities, crl, version, ciphers, suites;
    std::vector<Directive> tls_lines;    // those that became keys
    std::vector<Directive> other_lines;  // but those that say that there is one

    bool exists() const { return named && !left_out; }
    bool has_pair() const { return !certificate.empty() && !key.empty(); }
    bool asks_for_certificates() const { return verifies || by_identity || by_subject; }
  };

  Listener& now() { return all_.back(); }
  void begin(const Directive& line);
  bool take_tls(const Directive& line);
  bool take_tls_flag(const Directive& line);
  void take_protocol(const Directive& line);
  void take_port(const Directive& line);
  void take_version(const Directive& line);
  void take_connections_max(const Directive& line);
  void take_qos_max(const Directive& line);
  void take_socket_domain(const Directive& line);
  void note_tls(const Listener& listener);
  void note_stray_lines();
  void note_qos();
  nlohmann::ordered_json json_of(const Listener& listener);
  nlohmann::ordered_json json_of_socket(const Listener& listener);
  nlohmann::ordered_json tls_of(const Listener& listener);

  const Note note_;
  std::vector<Listener> all_ =
      std::vector<Listener>(1);  // the first: what stands before any `listener`
};

}  // namespace millrace::server::mosquitto
