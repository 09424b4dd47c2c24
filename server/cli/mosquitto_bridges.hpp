// The bridges of mosquitto.conf, as upstreams: `connection` begins one, and what follows is about it.
//
//     topic PATTERN [out|in|both [QOS [LOCAL-PREFIX [REMOTE-PREFIX]]]]     one rule
//
// A password does not become part of the configuration: it belongs into a file of its own.
//
// Threads: none of its own.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "server/cli/mosquitto_conf.hpp"

namespace millrace::server::mosquitto {

class Bridges {
 public:
  explicit Bridges(Note note) : note_(std::move(note)) {}

  // True if the line is about a bridge, and taken or noted.
  bool take(const Directive& line);
  // As the key `upstreams`.
  nlohmann::ordered_json json() const;

 private:
  struct Bridge {
    Directive began;
    std::vector<std::string> addresses;  // host:port
    nlohmann::ordered_json keys = nlohmann::ordered_json::object();
    nlohmann::ordered_json tls = nlohmann::ordered_json::object();
    nlohmann::ordered_json rules = nlohmann::ordered_json::array();
    bool uses_tls = false;
    bool retained = true;
  };

  bool take_text(const Directive& line);
  bool take_other(const Directive& line);
  void take_addresses(const Directive& line);
  void take_topic(const Directive& line);
  void take_version(const Directive& line);
  void take_number(const Directive& line, const char* key, std::int64_t min, std::int64_t max);
  nlohmann::ordered_json json_of(const Bridge& bridge) const;

  const Note note_;
  std::vector<Bridge> all_;
};

}  // namespace millrace::server::mosquitto
