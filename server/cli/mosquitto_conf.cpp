#include "server/cli/mosquitto_conf.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <stdexcept>

#include "core/base/trimmed.hpp"
#include "server/auth/password_file.hpp"
#include "server/auth/user_file.hpp"
#include "server/cli/mosquitto_acl.hpp"
#include "server/cli/mosquitto_bridges.hpp"
#include "server/cli/mosquitto_listeners.hpp"
#include "server/cli/mosquitto_words.hpp"
#include "server/config/config.hpp"

namespace millrace::server {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

using mosquitto::boolean_of;
using mosquitto::number;

constexpr std::string_view blanks = " \t\r";
constexpr std::uintmax_t file_bytes_max = 16u << 20;
constexpr const char* packet_path = "packet_bytes_max";

// "14d" as seconds: h, d, w, m and y as mosquitto counts them.
std::optional<std::int64_t> seconds(const std::string& text) {
  if (text.empty()) return std::nullopt;
  const auto count = number(text.substr(0, text.size() - 1));
  const std::map<char, std::int64_t> hours = {
      {'h', 1}, {'d', 24}, {'w', 7 * 24}, {'m', 30 * 24}, {'y', 365 * 24}};
  const auto unit = hours.find(text.back());
  if (!count || *count < 1 || *count > 1'000'000 || unit == hours.end()) return std::nullopt;
  return *count * unit->second * 3600;
}

bool has_secret(std::string_view name) {
  if (name.ends_with("_file") || name == "use_psk_file") return false;
  for (const char* word : {"password", "secret", "psk", "token", "kpass"}) {
    if (name.find(word) != std::string_view::npos) return true;
  }
  return false;
}

// Where the files are that a configuration names.
class Files {
 public:
  Files(const std::string& file, std::string root)
      : beside_(fs::path(file).parent_path()), root_(std::move(root)) {}

  // As it says, below the root, or beside the configuration, as in a container's folders.
  std::optional<std::string> find(const std::string& name, bool folder) const {
    const fs::path path(name);
    for (const fs::path& candidate :
         {root_.empty() ? path : root_ / path.relative_path(), beside_ / path.filename()}) {
      std::error_code error;
      if (folder ? fs::is_directory(candidate, error) : fs::is_regular_file(candidate, error)) {
        return candidate.string();
      }
    }
    return std::nullopt;
  }

  static std::optional<std::string> read(const std::string& file) {
    std::error_code error;
    if (!fs::is_regular_file(file, error) || fs::file_size(file, error) > file_bytes_max || error) {
      return std::nullopt;
    }
    std::ifstream stream(file, std::ios::binary);
    std::ostringstream text;
    text << stream.rdbuf();
    if (!stream.is_open() || stream.bad()) return std::nullopt;
    return text.str();
  }

 private:
  const fs::path beside_, root_;
};

class Import {
 public:
  Import(const std::string& file, const std::string& root) : files_(file, root) {}

  // False: it cannot be read.
  bool read(const std::string& file) {
    const auto text = Files::read(file);
    if (!text) return false;
    std::string_view rest = *text;
    for (std::size_t line = 1; !rest.empty(); ++line) {
      const std::string whole(base::trimmed(take_part(rest, '\n'), blanks));
      if (whole.empty() || whole.front() == '#') continue;
      const auto end = whole.find_first_of(blanks);
      const std::string_view value =
          end == std::string::npos ? ""
                                   : base::trimmed(std::string_view(whole).substr(end), blanks);
      take({file, line, whole.substr(0, end), std::string(value)});
    }
    return true;
  }

  Imported take_result() {
    Json config;
    config["listeners"] = listeners_.json();
    config["access"] = access();
    if (listeners_.qos_max() < 2) set("mqtt.qos_max", listeners_.qos_max());
    if (const auto count = listeners_.connections_max()) set("connection.count_max", *count);
    if (level_) set("log.level", *level_);
    if (persists_) set("store.path", (fs::path(location_) / "millrace-store").string());
    config.update(keys_);
    if (Json upstreams = bridges_.json(); !upstreams.empty()) config["upstreams"] = upstreams;
    imported_.config = std::move(config);
    return std::move(imported_);
  }

 private:
  void note(const Directive& line, std::string why) {
    // A note shows no password and no key.
    const bool secret = has_secret(line.name);
    std::string said = line.name;
    if (!line.value.empty()) said += " " + (secret ? std::string("...") : line.value);
    imported_.notes.push_back({line.file, line.line, std::move(said), std::move(why)});
  }

  void set(const std::string& path, const Json& value) {
    std::string pointer = "/" + path;
    std::replace(pointer.begin(), pointer.end(), '.', '/');
    keys_[Json::json_pointer(pointer)] = value;
  }

  void take(const Directive& line) {
    if (line.name == "include_dir") return include(line);
    if (bridges_.take(line) || listeners_.take(line) || take_access(line) || take_number(line) ||
        take_own(line))
      return;
    const auto is_named = [&](std::string_view word) { return mosquitto::names(word, line.name); };
    for (const std::string_view word : mosquitto::without_effect) {
      if (is_named(word)) return;
    }
    for (const auto& [word, why] : mosquitto::without_counterpart) {
      if (is_named(word)) return note(line, std::string(why));
    }
    note(line, "mosquitto 2.0 has no such word either");
  }

  void include(const Directive& line) {
    const auto folder = files_.find(line.value, true);
    if (!folder) return note(line, "the folder is not there: its files are missing");
    if (!included_.insert(*folder).second) return note(line, "the folder was included before");
    std::error_code error;
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(*folder, error)) {
      if (entry.path().extension() == ".conf") names.insert(entry.path().string());
    }
    if (error) return note(line, "the folder cannot be read: " + error.message());
    for (const std::string& name : names) {
      if (!read(name)) note(line, name + " cannot be read");
    }
  }

  bool take_access(const Directive& line) {
    if (line.name == "per_listener_settings") {
      per_listener_ = boolean_of(line, note_).value_or(per_listener_);
      if (per_listener_)
        note(line, "access is one for all listeners; what more is said of it is noted");
    } else if (line.name == "allow_anonymous") {
      take_anonymous(line);
    } else if (line.name == "password_file") {
      password_listeners_.insert(listeners_.current());
      if (takes_first(line, password_file_)) take_password_file(line);
    } else if (line.name == "acl_file") {
      acl_listeners_.insert(listeners_.current());
      if (takes_first(line, acl_file_)) take_acl_file(line);
    } else {
      return false;
    }
    return true;
  }

  // One file of a kind; a second one (of another listener) is noted.
  bool takes_first(const Directive& line, std::optional<std::string>& file) {
    if (!file || *file == line.value) {
      const bool first = !file;
      file = line.value;
      return first;
    }
    note(line, "there is one such file for all listeners, and it is " + *file);
    return false;
  }

  void take_anonymous(const Directive& line) {
    const auto allowed = boolean_of(line, note_);
    if (!allowed) return;
    if (per_listener_ && anonymous_ && *anonymous_ != *allowed) {
      anonymous_ = false;
      return note(line, "differs between listeners; here it is false for all");
    }
    anonymous_ = allowed;
    if (*allowed) anonymous_listeners_.insert(listeners_.current());
  }

  void take_password_file(const Directive& line) {
    const auto found = files_.find(line.value, false);
    const auto text = found ? Files::read(*found) : std::nullopt;
    if (!text) return note(line, "cannot be read here; its lines were not looked at");
    std::vector<std::string> faults;
    PasswordFile::parse(*text, faults);
    for (const std::string& fault : faults) note(line, "in " + *found + ", " + fault);
  }

  void take_acl_file(const Directive& line) {
    const auto found = files_.find(line.value, false);
    const auto text = found ? Files::read(*found) : std::nullopt;
    if (!text) {
      return note(line, "cannot be read here: without its rules, nobody may do anything");
    }
    ImportedAcl acl = import_mosquitto_acl(*text);
    rules_ = std::move(acl.rules);
    for (ImportedAcl::Note& one : acl.notes) {
      imported_.notes.push_back({*found, one.line, std::move(one.said), std::move(one.why)});
    }
  }

  bool take_number(const Directive& line) {
    for (const mosquitto::NumberWord& word : mosquitto::numbers) {
      if (word.name != line.name) continue;
      const auto value = number(line.value);
      if (!value || *value < 0) {
        note(line, "is no number");
      } else {
        const std::int64_t meant = *value == 0 ? word.zero : *value;
        const std::int64_t taken = std::clamp(meant, word.min, word.max);
        if (taken != meant)
          note(line, std::string(word.path) + " goes up to " + std::to_string(word.max));
        if (word.path == packet_path) {
          limit_packets(taken);
        } else {
          set(std::string(word.path), taken);
        }
      }
      return true;
    }
    return false;
  }

  bool take_own(const Directive& line) {
    using Take = void (Import::*)(const Directive&);
    static const std::map<std::string, Take, std::less<>> own = {
        {"allow_zero_length_clientid", &Import::take_zero_length_clientid},
        {"check_retain_source", &Import::take_check_retain_source},
        {"log_dest", &Import::take_log_dest},
        {"log_type", &Import::take_log_type},
        {"max_queued_bytes", &Import::take_queued_bytes},
        {"memory_limit", &Import::take_memory_limit},
        {"message_size_limit", &Import::take_message_size},
        {"persistence", &Import::take_persistence},
        {"persistence_location", &Import::take_persistence_location},
        {"persistent_client_expiration", &Import::take_expiration},
        {"retain_available", &Import::take_retain}};
    const auto found = own.find(line.name);
    if (found == own.end()) return false;
    (this->*found->second)(line);
    return true;
  }

  void take_zero_length_clientid(const Directive& line) {
    if (boolean_of(line, note_) != false) return;
    note(line, "a client without an identifier is given one");
  }

  void take_check_retain_source(const Directive& line) {
    if (boolean_of(line, note_) != false) return;
    note(line, "a retained message is judged when it is published, and by who may read it");
  }

  void take_log_dest(const Directive& line) {
    if (line.value == "none") {
      level_ = "off";
    } else if (line.value != "stderr" && line.value != "stdout") {
      note(line, "the log goes to standard error, which systemd and containers keep");
    }
  }

  // Several lines add up: the most that one of them asks for.
  void take_log_type(const Directive& line) {
    const std::map<std::string, int, std::less<>> levels = {
        {"none", 0}, {"error", 1}, {"warning", 2}, {"debug", 4}, {"all", 4}};
    const auto found = levels.find(line.value);
    log_types_ = std::max(log_types_, found == levels.end() ? 3 : found->second);
    constexpr const char* words[] = {"off", "error", "warn", "info", "debug"};
    if (level_ != "off" || log_types_ == 0) level_ = words[log_types_];
  }

  void take_queued_bytes(const Directive& line) {
    const auto bytes = number(line.value);
    if (!bytes || *bytes < 0) return note(line, "is no number");
    if (*bytes == 0) return note(line, "session.queue_bytes always limits; its default is 64 MiB");
    set("session.queue_bytes", std::max<std::int64_t>(*bytes, 1024));
  }

  void take_memory_limit(const Directive& line) {
    const auto bytes = number(line.value);
    if (!bytes || *bytes < 0) return note(line, "is no number");
    if (*bytes == 0) return;
    set("memory.bytes_max", *bytes);
    note(line, "memory.bytes_max limits what is held for clients, not the program itself");
  }

  void take_message_size(const Directive& line) {
    const auto bytes = number(line.value);
    if (!bytes || *bytes < 0) return note(line, "is no number");
    constexpr std::int64_t header_bytes = 64 * 1024;  // the longest topic
    const std::int64_t packet = *bytes == 0 ? mosquitto::packet_bytes_max : *bytes + header_bytes;
    limit_packets(std::min(packet, mosquitto::packet_bytes_max));
    note(line, "packet_bytes_max limits the packet with its topic, not the payload alone");
  }

  // Two words set it, and in mosquitto both hold.
  void limit_packets(std::int64_t bytes) {
    packet_bytes_max_ = std::min(packet_bytes_max_.value_or(bytes), bytes);
    set(packet_path, *packet_bytes_max_);
  }

  void take_persistence(const Directive& line) {
    persists_ = boolean_of(line, note_).value_or(persists_);
    if (persists_) note(line, "it is kept in store.path; what is in mosquitto.db is not read");
  }

  void take_persistence_location(const Directive& line) { location_ = line.value; }

  void take_expiration(const Directive& line) {
    const auto time = seconds(line.value);
    if (!time) return note(line, "is no time, such as 14d");
    set("session.expiry_max_seconds", std::min<std::int64_t>(*time, 4'294'967'295));
  }

  void take_retain(const Directive& line) {
    if (const auto available = boolean_of(line, note_)) set("mqtt.retain_available", *available);
  }

  void note_whole(std::string why) { imported_.notes.push_back({"", 0, "", std::move(why)}); }

  // Whether each listener is among those that have a line of their own.
  bool are_all(const std::set<std::size_t>& listeners) const {
    const auto places = listeners_.places();
    return std::all_of(places.begin(), places.end(),
                       [&](std::size_t place) { return listeners.contains(place); });
  }

  bool anonymous() {
    if (!anonymous_) {
      if (listeners_.is_local()) return true;
      note_whole("allow_anonymous is not said: false, as in mosquitto 2 (mosquitto 1 meant true)");
      return false;
    }
    if (per_listener_ && *anonymous_ && !are_all(anonymous_listeners_)) {
      note_whole("allow_anonymous is true for some listeners alone; here it is false for all");
      return false;
    }
    return *anonymous_;
  }

  void note_files_of_some_listeners() {
    if (!per_listener_) return;
    if (password_file_ && !are_all(password_listeners_)) {
      note_whole(
          "password_file stands for some listeners alone; here its users may come in by all");
    }
    if (acl_file_ && !are_all(acl_listeners_)) {
      note_whole("acl_file stands for some listeners alone; here its rules hold for all");
    }
  }

  Json access() {
    note_files_of_some_listeners();
    Json access = Json::object();
    access["allow_anonymous"] = anonymous();
    if (password_file_) access["password_file"] = *password_file_;
    if (acl_file_) {
      access["rules"] = rules_;
      access["otherwise"] = "deny";
    }
    return access;
  }

  const Files files_;
  Imported imported_;
  Json keys_ = Json::object();
  const Note note_ = [this](const Directive& line, std::string why) { note(line, std::move(why)); };
  mosquitto::Bridges bridges_{note_};
  mosquitto::Listeners listeners_{note_};
  Json rules_ = Json::array();
  std::optional<std::string> password_file_, acl_file_, level_;
  std::optional<bool> anonymous_;
  // The listeners that have a line of their own: that says true, and that names a file.
  std::set<std::size_t> anonymous_listeners_, password_listeners_, acl_listeners_;
  std::optional<std::int64_t> packet_bytes_max_;
  std::set<std::string> included_;  // folders
  std::string location_;            // of what persists
  bool persists_ = false;
  int log_types_ = 0;
  bool per_listener_ = false;
};

}  // namespace

std::string ImportNote::to_string() const {
  std::string text = file;
  if (line > 0) text += ":" + std::to_string(line);
  if (!said.empty()) text += (text.empty() ? "" : ": ") + said;
  return text + (text.empty() ? "" : ": ") + why;
}

Imported import_mosquitto(const std::string& file, const std::string& root) {
  Import import(file, root);
  if (!import.read(file)) throw std::runtime_error("cannot read " + file);
  return import.take_result();
}

}  // namespace millrace::server
