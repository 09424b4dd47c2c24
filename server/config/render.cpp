// The description of all keys, for a terminal and for docs/configuration.md.
#include <cmath>
#include <cstdio>

#include "server/config/schema.hpp"

namespace millrace::server {

namespace {

std::string grouped(std::string digits) {
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(static_cast<std::size_t>(at), 1, ',');
  return digits;
}

// "262144 (256 KiB)" for what is counted in bytes.
std::string with_size(const std::string& path, const Json& value) {
  const std::string text = value.dump();
  if (path.find("bytes") == std::string::npos || !value.is_number_unsigned()) return text;
  auto bytes = value.get<std::uint64_t>();
  const char* units[] = {"", " KiB", " MiB", " GiB"};
  int unit = 0;
  while (unit < 3 && bytes >= 1024 && bytes % 1024 == 0) {
    bytes /= 1024;
    ++unit;
  }
  return unit == 0 ? text : text + " (" + std::to_string(bytes) + units[unit] + ")";
}

std::string default_of(const Key<Config>& key) {
  if (key.path == "listeners") return "see right";
  const Json value = key.render(Config());
  if (value.is_null()) return "unset";
  if (value == "") return "none";
  return value.is_string() ? value.get<std::string>() : with_size(key.path, value);
}

std::string item_default(const std::string& fallback) {
  if (fallback.empty()) return "unset";
  if (fallback == "\"\"") return "none";
  return fallback.front() == '"' ? fallback.substr(1, fallback.size() - 2) : fallback;
}

// A table's cells must not contain bare pipes.
std::string cell(const std::string& text) {
  std::string escaped;
  for (const char c : text) escaped += c == '|' ? std::string("\\|") : std::string(1, c);
  return escaped;
}

std::string type_of(const std::string& type, const std::string& limits) {
  return limits.empty() ? type : type + ", " + limits;
}

std::string row(const std::string& path, const std::string& type, const std::string& fallback,
                const std::string& help, const char* takes) {
  std::string line("| `");
  line.append(path).append("` | ").append(cell(type)).append(" | ").append(cell(fallback));
  line.append(" | ").append(takes).append(" | ").append(cell(help)).append(" |\n");
  return line;
}

}  // namespace

std::string shown_number(double value) {
  char text[64];
  if (value == std::floor(value) && std::fabs(value) < 1e15) {
    std::snprintf(text, sizeof text, "%.0f", value);
    return grouped(text);
  }
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

std::string shown_limits(Limits limits) {
  return shown_number(limits.min) + " to " + shown_number(limits.max);
}

std::string config_help() {
  std::string text;
  for (const Key<Config>& key : config_schema().keys()) {
    text += "  " + key.path + " = " + default_of(key) + "\n      " + type_of(key.type, key.limits) +
            ". " + key.help + ".\n";
    for (const auto& field : key.item_fields) {
      text += "    [i]." + field.path + " = " + item_default(field.fallback) + "\n        " +
              type_of(field.type, field.limits) + ". " + field.help + ".\n";
    }
  }
  return text;
}

std::string config_json(const Config& config) {
  return config_schema().render(config).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string config_table_markdown() {
  std::string text =
      "| key | value | default | changes on | meaning |\n"
      "| --- | --- | --- | --- | --- |\n";
  for (const Key<Config>& key : config_schema().keys()) {
    const char* takes = key.takes == Takes::reload ? "SIGHUP" : "restart";
    text += row(key.path, type_of(key.type, key.limits), default_of(key), key.help, takes);
    for (const auto& field : key.item_fields) {
      text += row(key.path + "[i]." + field.path, type_of(field.type, field.limits),
                  item_default(field.fallback), field.help, takes);
    }
  }
  return text;
}

}  // namespace millrace::server
