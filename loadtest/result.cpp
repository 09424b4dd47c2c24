#include "loadtest/result.hpp"

#include <cmath>
#include <cstdio>

namespace millrace::loadtest {
namespace {

std::string json_text(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c));
      out += escaped;
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string number_text(double value) {
  if (!std::isfinite(value)) return "null";
  char text[40];
  std::snprintf(text, sizeof text, std::fabs(value) >= 1000 ? "%.1f" : "%.4g", value);
  return text;
}

std::string plain_text(const Result::Value& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  if (const auto* whole = std::get_if<std::int64_t>(&value)) return std::to_string(*whole);
  return number_text(std::get<double>(value));
}

std::string json_value(const Result::Value& value) {
  const auto* text = std::get_if<std::string>(&value);
  return text != nullptr ? json_text(*text) : plain_text(value);
}

std::string csv_text(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? "\"\"" : std::string(1, c);
  return out + '"';
}

// 8312345 -> 8,312,345, for the table only.
std::string grouped(std::string digits) {
  const std::size_t first = digits.starts_with('-') ? 1 : 0;
  const std::size_t point = std::min(digits.find('.'), digits.size());
  for (std::size_t at = point; at > first + 3;) digits.insert(at -= 3, 1, ',');
  return digits;
}

}  // namespace

void Result::add_times(const std::string& name, const Histogram& times) {
  constexpr std::pair<const char*, double> points[] = {
      {"_p50_us", 50}, {"_p90_us", 90}, {"_p99_us", 99}, {"_p99.9_us", 99.9}};
  for (const auto& [suffix, percent] : points) {
    add(name + suffix, static_cast<double>(times.percentile(percent)) / 1e3);
  }
  add(name + "_max_us", static_cast<double>(times.max()) / 1e3);
  add(name + "_mean_us", times.mean() / 1e3);
  histograms.emplace_back(name, times);
}

Result begin_result(const Options& o) {
  Result r;
  r.add("scenario", scenario_name(o.scenario));
  if (!o.label.empty()) r.add("label", o.label);
  r.add("transport", transport_name(o.transport));
  r.add("mqtt", o.mqtt == MqttVersion::v5 ? "5" : "3.1.1");
  if (o.publishers == 0) return r;
  r.add("publishers", std::uint64_t{o.publishers});
  r.add("subscribers", std::uint64_t{o.subscribers});
  r.add("topics", std::uint64_t{o.topics});
  r.add("payload_bytes", std::uint64_t{o.payload_bytes});
  r.add("qos", std::uint64_t{o.qos});
  r.add("subscribe_qos", std::uint64_t{o.subscribe_qos});
  if (o.qos > 0) r.add("unacked_max", std::uint64_t{o.unacked});
  if (o.in_flight > 0) r.add("in_flight_max", o.in_flight);
  if (!o.filter_prefix.empty()) r.add("filter_prefix", o.filter_prefix);
  if (o.is_kept) r.add("sessions", "kept");
  return r;
}

std::string to_table(const Result& result) {
  std::size_t width = 0;
  for (const auto& [name, value] : result.figures) width = std::max(width, name.size());
  std::string out;
  for (const auto& [name, value] : result.figures) {
    const bool is_number = !std::holds_alternative<std::string>(value);
    const std::string text = is_number ? grouped(plain_text(value)) : plain_text(value);
    std::string label = name;
    for (char& c : label) c = c == '_' ? ' ' : c;
    out += "  " + label + std::string(width + 2 - name.size(), ' ') +
           std::string(text.size() < 14 ? 14 - text.size() : 0, ' ') + text + '\n';
  }
  for (const std::string& warning : result.warnings) out += "  ! " + warning + '\n';
  return out;
}

std::string to_json(const Result& result, bool with_histograms) {
  std::string out = "{";
  for (const auto& [name, value] : result.figures) {
    if (out.size() > 1) out += ", ";
    out += json_text(name) + ": " + json_value(value);
  }
  out += ", \"warnings\": [";
  for (std::size_t i = 0; i < result.warnings.size(); ++i) {
    out += (i == 0 ? "" : ", ") + json_text(result.warnings[i]);
  }
  out += "]";
  if (with_histograms) {
    // Each bucket as [highest value of the bucket, count].
    out += ", \"histograms_ns\": {";
    for (std::size_t h = 0; h < result.histograms.size(); ++h) {
      const auto& [name, histogram] = result.histograms[h];
      out += (h == 0 ? "" : ", ") + json_text(name) + ": [";
      bool is_first = true;
      for (const Histogram::Bucket& b : histogram.buckets()) {
        out += (is_first ? "[" : ", [") + std::to_string(b.highest) + ", " +
               std::to_string(b.count) + "]";
        is_first = false;
      }
      out += "]";
    }
    out += "}";
  }
  return out + "}";
}

std::string to_csv_head(const Result& result) {
  std::string out;
  for (const auto& [name, value] : result.figures) out += csv_text(name) + ",";
  return out + "warnings";
}

std::string to_csv_line(const Result& result) {
  std::string out;
  for (const auto& [name, value] : result.figures) out += csv_text(plain_text(value)) + ",";
  std::string warnings;
  for (const std::string& w : result.warnings) warnings += (warnings.empty() ? "" : "; ") + w;
  return out + csv_text(warnings);
}

}  // namespace millrace::loadtest
