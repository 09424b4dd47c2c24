#include "loadtest/options.hpp"

#include <algorithm>
#include <boost/program_options.hpp>
#include <cmath>
#include <iostream>
#include <sstream>

#include "loadtest/stamp.hpp"

namespace millrace::loadtest {
namespace {

namespace po = boost::program_options;

// A scenario's defaults; 0 also means that it does not have the option.
struct Defaults {
  Scenario scenario;
  const char* name;
  const char* what;
  std::uint32_t publishers, subscribers, topics;
  std::size_t payload_bytes;
  int qos;
  std::uint64_t in_flight;
  std::uint32_t unacked;
  double rate_per_s, warmup_s, duration_s;
};

constexpr Defaults kScenarios[] = {
    {Scenario::one2one, "one2one", "closed loop: one publisher, one subscriber, one topic", 1, 1, 1,
     64, 0, 2000, 20, 0, 1, 5},
    {Scenario::fanin, "fanin", "closed loop: several publishers over many topics, one subscriber",
     4, 1, 100, 64, 0, 4000, 20, 0, 1, 5},
    {Scenario::fanout, "fanout", "closed loop: one publisher, many subscribers of its topic", 1, 10,
     1, 64, 0, 500, 20, 0, 1, 5},
    {Scenario::qos1, "qos1", "closed loop at QoS 1 both ways, limited by --unacked", 4, 1, 100, 64,
     1, 0, 20, 0, 1, 5},
    {Scenario::latency, "latency", "open loop at a fixed rate: how long a message takes", 1, 1, 1,
     64, 0, 0, 20, 5000, 1, 5},
    {Scenario::slow, "slow",
     "a reader pauses: how many bytes it must read to see the newest value of "
     "every topic",
     1, 1, 100, 256, 0, 0, 20, 20000, 1, 0},
    {Scenario::fresh, "fresh", "a reader limited to --read-rate: the age of what it reads", 1, 1,
     100, 256, 0, 0, 20, 20000, 0, 10},
    {Scenario::idle, "idle", "many idle connections: the server's memory for each", 0, 0, 0, 0, 0,
     0, 0, 0, 0, 2},
    {Scenario::connect, "connect", "connections per second: dial, CONNECT, CONNACK, DISCONNECT", 0,
     0, 0, 0, 0, 0, 0, 0, 1, 5},
    {Scenario::soak, "soak",
     "long run at a fixed rate while other clients connect and leave: loss, "
     "slope of the server's RSS",
     4, 2, 100, 64, 1, 0, 250, 10000, 5, 1200},
};

constexpr unsigned bit(Scenario s) {
  return 1u << static_cast<unsigned>(s);
}
constexpr unsigned kClosed =
    bit(Scenario::one2one) | bit(Scenario::fanin) | bit(Scenario::fanout) | bit(Scenario::qos1);
constexpr unsigned kStream = kClosed | bit(Scenario::latency);
constexpr unsigned kPublishing =
    kStream | bit(Scenario::slow) | bit(Scenario::fresh) | bit(Scenario::soak);
constexpr unsigned kEvery = kPublishing | bit(Scenario::idle) | bit(Scenario::connect);

// The scenarios in which an option has a meaning; an option that is not listed has one in all.
struct Meaning {
  const char* option;
  unsigned scenarios;
};
constexpr Meaning kMeanings[] = {
    {"publishers", kPublishing},
    {"subscribers", kPublishing},
    {"topics", kPublishing | bit(Scenario::idle)},
    {"topic-prefix", kPublishing | bit(Scenario::idle)},
    {"payload", kPublishing},
    {"qos", kPublishing},
    {"subscribe-qos", kPublishing},
    {"retain", kPublishing},
    {"kept", kPublishing},
    {"filter", kPublishing},
    {"filter-prefix", kPublishing},
    {"user-property", kPublishing},
    {"rate", kPublishing},
    {"unacked", kPublishing},
    {"in-flight", kClosed},
    {"messages", kStream},
    {"stall", kClosed},
    {"drain", kPublishing & ~bit(Scenario::fresh)},
    {"healthy", bit(Scenario::slow) | bit(Scenario::fresh)},
    {"pause", bit(Scenario::slow)},
    {"give-up", bit(Scenario::slow)},
    {"read-rate", bit(Scenario::fresh)},
    {"connections", bit(Scenario::idle)},
    {"churn", bit(Scenario::soak)},
    {"duration", kEvery & ~bit(Scenario::slow)},
    {"warmup", kEvery & ~bit(Scenario::idle) & ~bit(Scenario::fresh)},
};

struct Raw {
  std::string scenario, transport, mqtt, filter, wait, format, progress;
  std::vector<std::string> user_properties;
  std::string rates;
  int qos = 0, subscribe_qos = 0;
};

void add_connection_options(po::options_description& all, Options& o, Raw& raw) {
  po::options_description group("Where to", 100);
  auto add = group.add_options();
  add("host", po::value(&o.host)->default_value("127.0.0.1"), "the broker's name or address");
  add("port,p", po::value(&o.port), "its port (1883; tls 8883; ws 8083; wss 8084)");
  add("publish-port", po::value(&o.publish_port),
      "the publishers' port, if it is another server's: messages cross from there (default: "
      "--port)");
  add("publish-host", po::value(&o.publish_host),
      "the publishers' name or address of it, if they have a way of their own (default: --host)");
  add("transport", po::value(&raw.transport)->default_value("tcp"), "tcp, tls, ws or wss");
  add("mqtt", po::value(&raw.mqtt)->default_value("3.1.1"), "protocol version: 3.1.1 or 5");
  add("client-id", po::value(&o.client_id_prefix)->default_value("millrace-load"),
      "client identifiers start with this");
  add("username,u", po::value(&o.username), "user name");
  add("password,P", po::value(&o.password), "password (needs --username)");
  add("keepalive", po::value(&o.keepalive_s)->default_value(0),
      "seconds; a PINGREQ is sent at half of it; 0: off");
  add("cafile", po::value(&o.ca_file), "TLS: trusted certificates (else the system's)");
  add("cert", po::value(&o.certificate_file), "TLS: the client's certificate (needs --key)");
  add("key", po::value(&o.key_file), "TLS: its key (needs --cert)");
  add("server-name", po::value(&o.server_name), "TLS: the name to verify (else --host)");
  add("insecure", po::bool_switch(&o.insecure), "TLS: accept any certificate");
  add("ws-path", po::value(&o.ws_path)->default_value("/mqtt"), "WebSocket: the path");
  add("ws-frame-bytes", po::value(&o.ws_frame_bytes)->default_value(65'536),
      "WebSocket: pack many packets into frames of up to this size; 0: one packet a frame");
  add("receive-buffer", po::value(&o.receive_buffer_bytes)->default_value(0),
      "SO_RCVBUF in bytes; 0: the system's choice");
  add("send-buffer", po::value(&o.send_buffer_bytes)->default_value(0),
      "SO_SNDBUF in bytes; 0: the system's choice");
  add("connect-timeout", po::value(&o.connect_timeout_s)->default_value(10),
      "give up if no connection makes progress for this many seconds");
  all.add(group);
}

void add_shape_options(po::options_description& all, Options& o, Raw& raw) {
  po::options_description group("Who sends what (defaults: see the scenarios)", 100);
  auto add = group.add_options();
  add("publishers", po::value(&o.publishers), "publishing connections");
  add("subscribers", po::value(&o.subscribers),
      "subscribing connections (slow: those that pause; fresh: those that are limited)");
  add("topics", po::value(&o.topics),
      "topics, published round robin by every publisher (idle: subscriptions per connection)");
  add("topic-prefix", po::value(&o.topic_prefix)->default_value("bench"),
      "topics are PREFIX/00000000 and so on");
  add("payload", po::value(&o.payload_bytes), "bytes per message, at least 32");
  add("qos", po::value(&raw.qos), "QoS of the publishes: 0, 1, 2");
  add("subscribe-qos", po::value(&raw.subscribe_qos),
      "QoS of the subscriptions (else that of the publishes)");
  add("retain", po::bool_switch(&o.retain), "publish with RETAIN");
  add("kept", po::bool_switch(&o.is_kept),
      "the subscribers' sessions outlive the connection, and are left in the broker: a durable one "
      "stores what waits for them");
  add("filter", po::value(&raw.filter)->default_value("wildcard"),
      "subscribe to PREFIX/# (wildcard) or to each topic by name (exact)");
  add("filter-prefix", po::value(&o.filter_prefix),
      "prepended to the filters, such as '$latest/' (slow, fresh: except those of healthy "
      "readers)");
  add("user-property", po::value(&raw.user_properties),
      "NAME=VALUE on SUBSCRIBE, MQTT 5, repeatable (slow, fresh: except those of healthy readers)");
  add("healthy", po::value(&o.healthy)->default_value(1),
      "slow, fresh: additional readers that keep up and are checked for loss");
  add("connections", po::value(&o.connections)->default_value(10'000),
      "idle: number of connections");
  add("diallers", po::value(&o.diallers),
      "connections being established at the same time (connect: 1; else 64)");
  add("churn", po::value(&o.churn_per_s)->default_value(20),
      "soak: clients per second that connect, subscribe, publish and leave");
  all.add(group);
}

void add_pace_options(po::options_description& all, Options& o, Raw& raw) {
  po::options_description group("How fast, how long (defaults: see the scenarios)", 100);
  auto add = group.add_options();
  add("rate", po::value(&raw.rates),
      "messages per second, all publishers together: open loop. Latency is measured from a "
      "message's "
      "scheduled send time. R1,R2,...: one run at each rate");
  add("in-flight", po::value(&o.in_flight),
      "closed loop: maximum of publications that not every subscriber has received; 0: no limit "
      "(QoS > 0)");
  add("unacked", po::value(&o.unacked),
      "QoS > 0: maximum of unacknowledged publishes per publisher");
  add("warmup", po::value(&o.warmup_s), "seconds before the measurement");
  add("duration", po::value(&o.duration_s), "seconds of the measurement");
  add("messages", po::value(&o.messages),
      "end after this many publications, warm-up included (or at the end of --duration)");
  add("drain", po::value(&o.drain_s)->default_value(3),
      "at the end, wait for outstanding messages until none has arrived for this many seconds");
  add("stall", po::value(&o.stall_s)->default_value(1),
      "closed loop: after this many seconds without a delivery, no longer wait for messages in "
      "flight");
  add("wait", po::value(&raw.wait)->default_value("sleep"),
      "sleep (in the kernel) or spin (poll without sleeping, which occupies a core)");
  add("pause", po::value(&o.pause_s)->default_value(5), "slow: seconds without reading");
  add("give-up", po::value(&o.give_up_s)->default_value(20),
      "slow: seconds to wait for the newest values");
  add("read-rate", po::value(&o.read_rate_bytes_per_s)->default_value(400'000),
      "fresh: bytes per second that each limited reader reads");
  all.add(group);
}

void add_report_options(po::options_description& all, Options& o, Raw& raw) {
  po::options_description group("What to report", 100);
  auto add = group.add_options();
  add("pid", po::value(&o.pid), "the server's process: its CPU per message and RSS are measured");
  add("cgroup", po::value(&o.cgroup), "the same for a cgroup v2 directory");
  add("format", po::value(&raw.format)->default_value("table"),
      "table, json (one object per run and line) or csv (with a head line)");
  add("out", po::value(&o.out_file),
      "write the results with their histograms to this file (JSON lines, for loadtest/plot)");
  add("label", po::value(&o.label), "a name for the run, such as the broker's, for the result");
  add("progress", po::value(&raw.progress)->default_value("auto"),
      "live line on standard error: auto (in a terminal), always, never");
  add("strict", po::bool_switch(&o.strict),
      "exit 3 if a message was lost, duplicated, out of order, foreign or on a wrong topic");
  add("help,h", "this text");
  all.add(group);
}

po::options_description describe(Options& o, Raw& raw) {
  po::options_description all;
  add_connection_options(all, o, raw);
  add_shape_options(all, o, raw);
  add_pace_options(all, o, raw);
  add_report_options(all, o, raw);
  return all;
}

template <class T>
T choose(const std::string& option, const std::string& text,
         std::initializer_list<std::pair<const char*, T>> choices) {
  std::string names;
  for (const auto& [name, value] : choices) {
    if (text == name) return value;
    names += names.empty() ? name : std::string(", ") + name;
  }
  throw UsageError("--" + option + ": '" + text + "' is none of " + names);
}

Scenario scenario_by_name(const std::string& name) {
  for (const Defaults& d : kScenarios) {
    if (name == d.name) return d.scenario;
  }
  throw UsageError("'" + name + "' is not a scenario; --help lists them");
}

std::vector<double> parse_rates(const std::string& text) {
  std::vector<double> rates;
  std::istringstream in(text);
  for (std::string item; std::getline(in, item, ',');) {
    std::size_t used = 0;
    double rate = 0;
    try {
      rate = std::stod(item, &used);
    } catch (const std::exception&) {
      used = std::string::npos;
    }
    if (used != item.size() || !std::isfinite(rate) || rate <= 0) {
      throw UsageError("--rate: '" + item + "' is not a positive number");
    }
    rates.push_back(rate);
  }
  if (rates.empty()) throw UsageError("--rate needs a number");
  return rates;
}

void refuse_meaningless(const po::variables_map& given, Scenario scenario) {
  for (const Meaning& m : kMeanings) {
    const auto found = given.find(m.option);
    if (found == given.end() || found->second.defaulted()) continue;
    const std::string option = m.option;
    const bool is_switch = option == "retain" || option == "kept";
    const bool is_unset_switch = is_switch && !found->second.as<bool>();
    if (!is_unset_switch && (m.scenarios & bit(scenario)) == 0) {
      throw UsageError("--" + std::string(m.option) + " has no meaning in the scenario " +
                       scenario_name(scenario));
    }
  }
}

void fill_scenario(Options& o, const Raw& raw, const po::variables_map& given) {
  const Defaults& d = *std::find_if(std::begin(kScenarios), std::end(kScenarios),
                                    [&](const Defaults& x) { return x.scenario == o.scenario; });
  const auto unset = [&](const char* name) { return given.count(name) == 0; };
  if (unset("publishers")) o.publishers = d.publishers;
  if (unset("subscribers")) o.subscribers = d.subscribers;
  if (unset("topics")) o.topics = d.topics;
  if (unset("payload")) o.payload_bytes = d.payload_bytes;
  o.qos = static_cast<std::uint8_t>(unset("qos") ? d.qos : raw.qos);
  o.subscribe_qos = static_cast<std::uint8_t>(unset("subscribe-qos") ? o.qos : raw.subscribe_qos);
  if (unset("unacked")) o.unacked = d.unacked;
  if (unset("warmup")) o.warmup_s = unset("messages") ? d.warmup_s : 0;
  if (unset("duration")) o.duration_s = unset("messages") ? d.duration_s : 3600;
  if (unset("diallers")) o.diallers = o.scenario == Scenario::connect ? 1 : 64;
  if (!unset("rate")) {
    o.rates_per_s = parse_rates(raw.rates);
  } else if (d.rate_per_s > 0) {
    o.rates_per_s = {d.rate_per_s};
  }
  if (unset("in-flight")) o.in_flight = o.rates_per_s.empty() ? d.in_flight : 0;
  if (unset("server-name")) o.server_name = o.host;
  if (unset("port")) {
    constexpr std::uint16_t ports[] = {1883, 8883, 8083, 8084};
    o.port = ports[static_cast<unsigned>(o.transport)];
  }
}

void fill_choices(Options& o, const Raw& raw) {
  o.scenario = scenario_by_name(raw.scenario);
  o.transport = choose<TransportKind>("transport", raw.transport,
                                      {{"tcp", TransportKind::tcp},
                                       {"tls", TransportKind::tls},
                                       {"ws", TransportKind::ws},
                                       {"wss", TransportKind::wss}});
  o.mqtt = choose<MqttVersion>("mqtt", raw.mqtt,
                               {{"3.1.1", MqttVersion::v3_1_1}, {"5", MqttVersion::v5}});
  o.filter = choose<FilterKind>("filter", raw.filter,
                                {{"wildcard", FilterKind::wildcard}, {"exact", FilterKind::exact}});
  o.wait = choose<Wait>("wait", raw.wait, {{"sleep", Wait::sleep}, {"spin", Wait::spin}});
  o.format =
      choose<Format>("format", raw.format,
                     {{"table", Format::table}, {"json", Format::json}, {"csv", Format::csv}});
  o.progress = choose<std::optional<bool>>(
      "progress", raw.progress, {{"auto", std::nullopt}, {"always", true}, {"never", false}});
  for (const std::string& text : raw.user_properties) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos) throw UsageError("--user-property needs NAME=VALUE");
    o.user_properties.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
}

void require(bool ok, const char* rule) {
  if (!ok) throw UsageError(rule);
}

void check_connection(const Options& o, const po::variables_map& given) {
  const auto is_set = [&](const char* name) {
    return given.count(name) != 0 && !given[name].defaulted();
  };
  require(o.port != 0, "--port must not be 0");
  require(!is_set("publish-port") || o.publish_port != 0, "--publish-port must not be 0");
  require(o.password.empty() || !o.username.empty(), "--password needs --username");
  require(o.certificate_file.empty() == o.key_file.empty(), "--cert and --key go together");
  require(is_tls(o.transport) ||
              (!is_set("cafile") && !is_set("cert") && !is_set("server-name") && !o.insecure),
          "--cafile, --cert, --key, --server-name and --insecure need --transport tls or wss");
  require(is_websocket(o.transport) || (!is_set("ws-path") && !is_set("ws-frame-bytes")),
          "--ws-path and --ws-frame-bytes need --transport ws or wss");
  require(o.user_properties.empty() || o.mqtt == MqttVersion::v5, "--user-property needs --mqtt 5");
  require(o.receive_buffer_bytes >= 0 && o.send_buffer_bytes >= 0,
          "--receive-buffer and --send-buffer must not be negative");
  require(o.diallers > 0, "--diallers must not be 0");
  require(o.connect_timeout_s > 0, "--connect-timeout must be positive");
  require(o.pid >= 0, "--pid must be a process id");
  require(o.pid == 0 || o.cgroup.empty(), "--pid or --cgroup, not both");
}

void check_publishing(const Options& o, const Raw& raw, const po::variables_map& given) {
  require(raw.qos >= 0 && raw.qos <= 2, "--qos must be 0, 1 or 2");
  require(raw.subscribe_qos >= 0 && raw.subscribe_qos <= 2, "--subscribe-qos must be 0, 1 or 2");
  require(o.publishers > 0 && o.subscribers > 0, "--publishers and --subscribers must not be 0");
  require(o.topics > 0 && o.topics <= 99'999'999, "--topics must be 1 to 99999999");
  require(std::uint64_t{o.publishers} * o.topics < kStreamsMax,
          "--publishers times --topics must be below 268435456");
  require(o.payload_bytes >= kStampBytes, "--payload must be at least 32: the stamp's size");
  require(o.payload_bytes <= 128 * 1024 * 1024, "--payload must be at most 128 MiB");
  require(!o.topic_prefix.empty() && o.topic_prefix.find_first_of("+#") == std::string::npos,
          "--topic-prefix must be a topic name");
  require(o.topic_prefix.size() <= 60'000, "--topic-prefix is too long");
  if (o.qos > 0) {
    require(o.unacked > 0 && o.unacked <= 65'535, "--unacked must be 1 to 65535");
  } else {
    require(given.count("unacked") == 0, "--unacked needs --qos 1 or 2");
  }
  const bool is_closed = o.rates_per_s.empty();
  require(is_closed || given.count("in-flight") == 0, "--rate is an open loop: no --in-flight");
  require(!is_closed || o.in_flight > 0 || o.qos > 0, "--in-flight 0 needs --qos 1 or 2");
  require(o.duration_s > 0 || o.scenario == Scenario::slow, "--duration must be positive");
  require(o.warmup_s >= 0 && o.drain_s >= 0, "--warmup and --drain must not be negative");
  require(o.stall_s > 0, "--stall must be positive");
  require(o.pause_s > 0 && o.give_up_s > 0, "--pause and --give-up must be positive");
  require(o.read_rate_bytes_per_s >= 1, "--read-rate must be at least 1");
  require(o.churn_per_s >= 0, "--churn must not be negative");
}

}  // namespace

const char* scenario_name(Scenario scenario) {
  return kScenarios[static_cast<unsigned>(scenario)].name;
}

const char* transport_name(TransportKind kind) {
  constexpr const char* names[] = {"tcp", "tls", "ws", "wss"};
  return names[static_cast<unsigned>(kind)];
}

bool is_tls(TransportKind kind) {
  return kind == TransportKind::tls || kind == TransportKind::wss;
}

bool is_websocket(TransportKind kind) {
  return kind == TransportKind::ws || kind == TransportKind::wss;
}

std::string help_text() {
  std::ostringstream out;
  out << "millrace-load SCENARIO [options]: measures an MQTT broker from one "
         "thread.\n\nScenarios:\n";
  for (const Defaults& d : kScenarios) {
    out << "  " << d.name << std::string(9 - std::string(d.name).size(), ' ') << d.what << '\n';
    if (d.publishers == 0) continue;
    out << "           defaults: " << d.publishers << " publisher(s), " << d.subscribers
        << " subscriber(s), " << d.topics << " topic(s), payload " << d.payload_bytes << ", QoS "
        << d.qos;
    if (d.in_flight > 0) out << ", in flight " << d.in_flight;
    if (d.rate_per_s > 0) out << ", rate " << d.rate_per_s;
    if (d.qos > 0) out << ", unacked " << d.unacked;
    if (d.warmup_s > 0) out << ", warm-up " << d.warmup_s << " s";
    if (d.duration_s > 0) out << ", " << d.duration_s << " s";
    out << '\n';
  }
  Options unused;
  Raw raw;
  out << describe(unused, raw)
      << "\nOpen loop (--rate): 'latency' is measured from the intended send time, 'service' from "
         "the actual one;\nif they differ, the generator or the socket delayed messages "
         "(coordinated omission).\nClosed loop: both are the same, and include the queueing of the "
         "messages in flight.\nExit code: 0, 1 (the run failed), 2 (usage), 3 (--strict).\n";
  return out.str();
}

std::optional<Options> parse_options(int argc, const char* const* argv) {
  Options o;
  Raw raw;
  po::options_description all = describe(o, raw);
  po::options_description with_scenario;
  with_scenario.add(all).add_options()("scenario", po::value(&raw.scenario));
  po::positional_options_description positional;
  positional.add("scenario", 1);
  po::variables_map given;
  try {
    po::store(
        po::command_line_parser(argc, argv)
            .options(with_scenario)
            .positional(positional)
            .style(po::command_line_style::unix_style & ~po::command_line_style::allow_guessing)
            .run(),
        given);
    if (given.count("help") != 0) {
      std::cout << help_text();
      return std::nullopt;
    }
    po::notify(given);
  } catch (const po::error& error) {
    throw UsageError(error.what());
  }
  require(!raw.scenario.empty(), "no scenario given; --help lists them");
  fill_choices(o, raw);
  refuse_meaningless(given, o.scenario);
  fill_scenario(o, raw, given);
  check_connection(o, given);
  if ((kPublishing & bit(o.scenario)) != 0) check_publishing(o, raw, given);
  const bool takes_one_rate = (kStream & bit(o.scenario)) == 0;
  require(!takes_one_rate || o.rates_per_s.size() <= 1, "this scenario takes one --rate");
  require(o.scenario != Scenario::idle || o.connections > 0, "--connections must not be 0");
  require(o.scenario != Scenario::idle || o.pid != 0 || !o.cgroup.empty(),
          "idle measures the server's memory: it needs --pid or --cgroup");
  return o;
}

}  // namespace millrace::loadtest
