// The command line's options, with the scenario's defaults filled in and checked.
//
// parse_options() throws UsageError with a text for the user. After it returned, every option is
// set, and every given option has an effect: one that has no meaning in the chosen scenario is
// refused. One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "loadtest/packets.hpp"

namespace millrace::loadtest {

enum class Scenario { one2one, fanin, fanout, qos1, latency, slow, fresh, idle, connect, soak };
enum class TransportKind { tcp, tls, ws, wss };
enum class Format { table, json, csv };
enum class FilterKind { wildcard, exact };
enum class Wait { sleep, spin };

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Options {
  Scenario scenario = Scenario::one2one;

  // Where to
  std::string host;
  std::uint16_t port = 0;
  std::uint16_t publish_port = 0;  // of the publishers alone; 0: the same
  std::string publish_host;        // likewise; empty: the same
  TransportKind transport = TransportKind::tcp;
  MqttVersion mqtt = MqttVersion::v3_1_1;
  std::string client_id_prefix;
  std::string username;
  std::string password;
  std::uint16_t keepalive_s = 0;
  std::string ca_file;
  std::string certificate_file;
  std::string key_file;
  std::string server_name;
  bool insecure = false;
  std::string ws_path;
  std::size_t ws_frame_bytes = 0;
  int receive_buffer_bytes = 0;
  int send_buffer_bytes = 0;

  // Who
  std::uint32_t publishers = 0;
  std::uint32_t subscribers = 0;
  std::uint32_t topics = 0;
  std::uint32_t healthy = 0;
  std::uint32_t connections = 0;
  std::uint32_t diallers = 0;
  double churn_per_s = 0;

  // What
  std::string topic_prefix;
  FilterKind filter = FilterKind::wildcard;
  std::string filter_prefix;
  std::vector<std::pair<std::string, std::string>> user_properties;
  std::size_t payload_bytes = 0;
  std::uint8_t qos = 0;
  std::uint8_t subscribe_qos = 0;
  bool retain = false;
  bool is_kept = false;  // the subscribers' sessions

  // How fast, how long
  std::vector<double> rates_per_s;  // empty: closed loop; several: one run each
  std::uint64_t in_flight = 0;      // 0: no limit
  std::uint32_t unacked = 0;
  double warmup_s = 0;
  double duration_s = 0;
  std::uint64_t messages = 0;  // 0: until the end of the duration
  double drain_s = 0;
  double stall_s = 0;
  double connect_timeout_s = 0;
  Wait wait = Wait::sleep;
  double pause_s = 0;
  double give_up_s = 0;
  double read_rate_bytes_per_s = 0;

  // What to report
  int pid = 0;
  std::string cgroup;
  Format format = Format::table;
  std::string out_file;
  std::string label;
  std::optional<bool> progress;  // unset: when standard error is a terminal
  bool strict = false;
};

// nullopt if --help was given (and printed to standard output).
std::optional<Options> parse_options(int argc, const char* const* argv);

std::string help_text();
const char* scenario_name(Scenario scenario);
const char* transport_name(TransportKind kind);
bool is_tls(TransportKind kind);
bool is_websocket(TransportKind kind);

}  // namespace millrace::loadtest
