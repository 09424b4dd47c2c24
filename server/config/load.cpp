// Loading: defaults, file, environment, command line, in this order; then validation as a whole.
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "server/config/machine_memory.hpp"
#include "server/config/schema.hpp"

extern char** environ;

namespace millrace::server {

namespace {

constexpr std::size_t file_bytes_max = 16u << 20;
constexpr std::string_view variable_prefix = "MILLRACE_";

bool read_file(const std::string& name, std::string& text, const FaultSink& faults) {
  std::error_code ignored;
  if (std::filesystem::is_directory(name, ignored)) {
    faults.add("cannot read the file: it is a folder");
    return false;
  }
  std::ifstream stream(name, std::ios::binary);
  std::ostringstream whole;
  whole << stream.rdbuf();
  if (!stream.is_open() || stream.bad()) {
    faults.add("cannot read the file: " + std::string(std::strerror(errno)));
    return false;
  }
  text = whole.str();
  if (text.size() > file_bytes_max) {
    faults.add("is larger than 16 MiB: not a configuration");
    return false;
  }
  return true;
}

// "parse error at line 3, column 7: ..." without the library's own prefix.
std::string parse_complaint(const std::exception& error) {
  const std::string what = error.what();
  const auto bracket = what.find("] ");
  return bracket == std::string::npos ? what : what.substr(bracket + 2);
}

// A key that stands twice in one object: the library keeps the last one silently.
class DuplicateKeys {
 public:
  bool operator()(int, Json::parse_event_t event, Json& parsed) {
    switch (event) {
      case Json::parse_event_t::object_start:
      case Json::parse_event_t::array_start:
        count_item();
        open_.push_back({event == Json::parse_event_t::array_start, 0, {}, {}});
        break;
      case Json::parse_event_t::object_end:
      case Json::parse_event_t::array_end:
        open_.pop_back();
        break;
      case Json::parse_event_t::key:
        open_.back().key = parsed.get<std::string>();
        if (!open_.back().keys.insert(open_.back().key).second) paths.push_back(path());
        break;
      case Json::parse_event_t::value:
        count_item();
        break;
    }
    return true;
  }
  std::vector<std::string> paths;

 private:
  // An object or a list that has begun and not ended.
  struct Open {
    bool is_list;
    std::size_t count;  // of the list's items so far, with the one that is being read
    std::string key;    // of the object, the newest
    std::set<std::string> keys;
  };

  void count_item() {
    if (!open_.empty() && open_.back().is_list) ++open_.back().count;
  }
  std::string path() const {
    std::string text;
    for (const Open& one : open_) {
      if (one.is_list) {
        text += "[" + std::to_string(one.count - 1) + "]";
      } else {
        text += (text.empty() ? "" : ".") + one.key;
      }
    }
    return text;
  }

  std::vector<Open> open_;
};

void apply_file(Config& config, const std::string& name, std::vector<ConfigFault>& faults) {
  const FaultSink sink(faults, "", name);
  std::string text;
  if (!read_file(name, text, sink)) return;
  DuplicateKeys duplicates;
  Json parsed;
  try {
    parsed = Json::parse(text, std::ref(duplicates), true, true);
  } catch (const Json::exception& error) {
    return sink.add(parse_complaint(error));
  }
  for (const std::string& path : duplicates.paths) sink.at(path).add("stands twice in one object");
  config_schema().parse(config, "", parsed, sink);
}

// The value as a variable or --set gives it: JSON, or the bare word that text and choices allow.
Json value_of(const std::string& text, bool is_text) {
  const bool quoted = !text.empty() && text.front() == '"';
  if (is_text && !quoted) return text;
  Json parsed = Json::parse(text, nullptr, false, true);
  return parsed.is_discarded() ? Json(text) : parsed;
}

// Of a field in the tables: "rules[j].filter" for "rules[2].filter".
std::string field_in_tables(const std::string& field) {
  ItemPath inner;
  return parse_item_path(field, inner) ? inner.list + "[j]." + inner.field : field;
}

void apply_set(Config& config, const std::string& path, const std::string& value,
               const FaultSink& faults) {
  const auto& schema = config_schema();
  ItemPath item;
  if (parse_item_path(path, item)) {
    const Key<Config>* list = schema.find(item.list);
    if (list == nullptr || !list->parse_item) {
      return faults.add("there is no list \"" + item.list + "\"");
    }
    const std::string in_tables = field_in_tables(item.field);
    const auto is_text = [&](const auto& field) { return field.path == in_tables && field.text; };
    const bool text = std::any_of(list->item_fields.begin(), list->item_fields.end(), is_text);
    return list->parse_item(config, item.index, item.field, value_of(value, text), faults);
  }
  const Key<Config>* key = schema.find(path);
  schema.parse(config, path, value_of(value, key != nullptr && key->text), faults);
}

void apply_sets(Config& config, const std::vector<std::string>& sets,
                std::vector<ConfigFault>& faults) {
  for (const std::string& set : sets) {
    const auto equals = set.find('=');
    const FaultSink sink(faults, set.substr(0, equals), "--set");
    if (equals == std::string::npos || equals == 0) {
      sink.add("must look like path=value");
    } else {
      apply_set(config, set.substr(0, equals), set.substr(equals + 1), sink);
    }
  }
}

std::string variable_of(const std::string& path) {
  std::string name(variable_prefix);
  for (const char c : path) {
    name += c == '.' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return name;
}

// Kubernetes describes every Service of the namespace in variables of its own; for a Service called
// "millrace" or "millrace-http" they begin like ours.
bool is_service_link(std::string_view name, std::string_view value) {
  if (name.find("_SERVICE_HOST") != std::string_view::npos) return true;
  if (name.find("_SERVICE_PORT") != std::string_view::npos) return true;
  const bool address = value.starts_with("tcp://") || value.starts_with("udp://");
  const bool one_port =
      name.find("_TCP") != std::string_view::npos || name.find("_UDP") != std::string_view::npos;
  return name.find("_PORT") != std::string_view::npos && (address || one_port);
}

void apply_environment(Config& config, const std::vector<std::string>& environment,
                       std::vector<ConfigFault>& faults) {
  std::vector<std::string> variables;
  for (const std::string& path : config_schema().paths()) variables.push_back(variable_of(path));
  for (const std::string& entry : environment) {
    const auto equals = entry.find('=');
    if (!entry.starts_with(variable_prefix) || equals == std::string::npos) continue;
    const std::string name = entry.substr(0, equals), value = entry.substr(equals + 1);
    if (name == config_file_variable || is_service_link(name, value)) continue;
    const auto found = std::find(variables.begin(), variables.end(), name);
    if (found == variables.end()) {
      faults.push_back({"", "unknown variable" + suggestion(name, variables), name});
      continue;
    }
    const Key<Config>& key = config_schema().keys()[found - variables.begin()];
    key.parse(config, value_of(value, key.text), FaultSink(faults, key.path, name));
  }
}

// --mqtt-port and --ws-port: the first plain listener of that kind, or a new one on loopback.
void apply_port(Config& config, Transport transport, std::optional<std::uint16_t> port) {
  if (!port) return;
  for (ListenerConfig& listener : config.listeners) {
    if (listener.transport != transport) continue;
    listener.port = *port;
    return;
  }
  ListenerConfig listener;
  listener.transport = transport;
  listener.port = *port;
  config.listeners.push_back(std::move(listener));
}

// A port that could not be read is not the default one, nor is one that goes by such a transport:
// nothing may be said of who has it already.
void forget_unread_ports(Config& config, const std::vector<ConfigFault>& faults) {
  const auto forget = [&](std::uint16_t& port, const std::string& path) {
    if (is_at_fault(faults, path)) port = 0;
  };
  forget(config.http.port, "http.port");
  for (std::size_t i = 0; i < config.http.listeners.size(); ++i) {
    forget(config.http.listeners[i].port, item_path("http.listeners", i) + ".port");
  }
  for (std::size_t i = 0; i < config.listeners.size(); ++i) {
    forget(config.listeners[i].port, item_path("listeners", i) + ".port");
    forget(config.listeners[i].port, item_path("listeners", i) + ".transport");
  }
}

// Every listener has a name, and "localhost" is the address it stands for.
void finish(Config& config) {
  std::set<std::string> taken;
  for (const ListenerConfig& listener : config.listeners) taken.insert(listener.name);
  for (ListenerConfig& listener : config.listeners) {
    if (listener.host == "localhost") listener.host = "127.0.0.1";
    if (!listener.name.empty()) continue;
    const std::string word(word_of(listener.transport));
    listener.name = word;
    for (int i = 2; !taken.insert(listener.name).second; ++i) {
      listener.name = word + "-" + std::to_string(i);
    }
  }
  if (config.http.host == "localhost") config.http.host = "127.0.0.1";
  for (HttpListenerConfig& listener : config.http.listeners) {
    if (listener.host == "localhost") listener.host = "127.0.0.1";
  }
}

}  // namespace

bool parse_item_path(std::string_view path, ItemPath& out) {
  const auto open = path.find('[');
  const auto close = path.find("].");
  if (open == std::string_view::npos || close == std::string_view::npos || close < open + 2) {
    return false;
  }
  const std::string digits(path.substr(open + 1, close - open - 1));
  if (digits.size() > 6 || !std::all_of(digits.begin(), digits.end(), ::isdigit)) return false;
  out = {std::string(path.substr(0, open)), std::stoul(digits),
         std::string(path.substr(close + 2))};
  return true;
}

const char* to_string(Transport value) {
  return word_of(value).data();
}
const char* to_string(WaitStrategy value) {
  return word_of(value).data();
}
const char* to_string(DeliveryMode value) {
  return word_of(value).data();
}
const char* to_string(OverflowPolicy value) {
  return word_of(value).data();
}
const char* to_string(Durability value) {
  return word_of(value).data();
}
const char* to_string(OnStoreFailure value) {
  return word_of(value).data();
}
const char* to_string(LogLevel value) {
  return word_of(value).data();
}
const char* to_string(LogFormat value) {
  return word_of(value).data();
}
const char* to_string(AccessEffect value) {
  return word_of(value).data();
}
const char* to_string(AccessAction value) {
  return word_of(value).data();
}
const char* to_string(LimitPolicy value) {
  return word_of(value).data();
}
const char* to_string(SessionScope value) {
  return word_of(value).data();
}
const char* to_string(RefusalReason value) {
  return word_of(value).data();
}
const char* to_string(ClientCertificate value) {
  return word_of(value).data();
}
const char* to_string(CertificateUser value) {
  return word_of(value).data();
}
const char* to_string(TlsVersion value) {
  return word_of(value).data();
}
const char* to_string(RingPolicy value) {
  return word_of(value).data();
}
const char* to_string(Direction value) {
  return word_of(value).data();
}
const char* to_string(MqttVersion value) {
  return word_of(value).data();
}
const char* to_string(UpstreamType value) {
  return word_of(value).data();
}
const char* to_string(TlsVerify value) {
  return word_of(value).data();
}

Config::Config() {
  ListenerConfig tcp;
  tcp.name = "tcp";
  ListenerConfig ws;
  ws.name = "ws";
  ws.transport = Transport::ws;
  ws.port = 8083;
  listeners = {tcp, ws};
}

std::uint32_t Config::io_threads() const {
  if (threads.io > 0) return threads.io;
  return std::max(2u, std::thread::hardware_concurrency()) - 1;
}

std::uint64_t Config::memory_bytes_max() const {
  return memory.bytes_max > 0 ? memory.bytes_max : machine_memory_bytes() / 4 * 3;
}

std::string ConfigFault::to_string() const {
  std::string text = origin;
  if (!path.empty()) text += (text.empty() ? "" : ": ") + path;
  return text + (text.empty() ? "" : ": ") + message;
}

bool is_at_fault(const std::vector<ConfigFault>& faults, std::string_view path) {
  // True for "http" of "http.port" and of "http", and for "http" of "http[1]".
  const auto holds = [](std::string_view outer, std::string_view inner) {
    return !outer.empty() && inner.starts_with(outer) &&
           (inner.size() == outer.size() || inner[outer.size()] == '.' ||
            inner[outer.size()] == '[');
  };
  return std::any_of(faults.begin(), faults.end(), [&](const ConfigFault& fault) {
    if (holds(fault.path, path)) return true;
    const bool is_item = holds(path, fault.path) && fault.path.ends_with(']');
    return is_item && fault.path.find('.', path.size()) == std::string::npos;
  });
}

std::vector<std::string> process_environment() {
  std::vector<std::string> entries;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    if (std::string_view(*entry).starts_with(variable_prefix)) entries.emplace_back(*entry);
  }
  return entries;
}

std::string address_text(const std::string& host, std::uint16_t port) {
  std::string text(host);
  if (host.find(':') != std::string::npos) text.insert(0, 1, '[').push_back(']');
  return text.append(":").append(std::to_string(port));
}

std::string config_variable(const std::string& path) {
  return variable_of(path);
}

LoadedConfig load_config(const ConfigSources& sources) {
  LoadedConfig loaded;
  Config& config = loaded.config;
  if (!sources.file.empty()) apply_file(config, sources.file, loaded.faults);
  apply_environment(config, sources.environment, loaded.faults);
  apply_sets(config, sources.sets, loaded.faults);
  apply_port(config, Transport::tcp, sources.mqtt_port);
  apply_port(config, Transport::ws, sources.ws_port);
  if (sources.http_port) config.http.port = *sources.http_port;
  forget_unread_ports(config, loaded.faults);
  finish(config);
  validate_config(config, loaded.faults);
  return loaded;
}

ReloadedConfig reload_config(const Config& running, const ConfigSources& sources) {
  LoadedConfig loaded = load_config(sources);
  ReloadedConfig reloaded;
  reloaded.config = running;
  reloaded.faults = std::move(loaded.faults);
  if (!reloaded.ok()) return reloaded;
  for (const Key<Config>& key : config_schema().keys()) {
    if (key.render(running) == key.render(loaded.config)) continue;
    if (key.takes == Takes::reload) {
      key.copy(reloaded.config, loaded.config);
      reloaded.applied.push_back(key.path);
    } else {
      reloaded.needs_restart.push_back(key.path);
    }
  }
  // Old listeners with new rules may not fit, though each of the two was valid.
  validate_config(reloaded.config, reloaded.faults);
  if (!reloaded.ok()) {
    reloaded.config = running;
    reloaded.applied.clear();
  }
  return reloaded;
}

}  // namespace millrace::server
