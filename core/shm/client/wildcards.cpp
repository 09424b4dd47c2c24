#include "core/shm/client/wildcards.hpp"

namespace millrace::local {
namespace {

// Calls visit(level, is_last) for each level of a filter.
template <class Visit>
void for_each_level(std::string_view filter, Visit&& visit) {
  for (;;) {
    const std::size_t end = filter.find('/');
    visit(filter.substr(0, end), end == std::string_view::npos);
    if (end == std::string_view::npos) return;
    filter.remove_prefix(end + 1);
  }
}

}  // namespace

std::string to_mqtt_filter(std::string_view filter, Wildcards wildcards) {
  if (wildcards == Wildcards::mqtt) return std::string(filter);
  std::string mqtt;
  for_each_level(filter, [&](std::string_view level, bool is_last) {
    if (level == "*") level = "+";
    if (level == "**" && is_last) level = "#";
    mqtt.append(level);
    if (!is_last) mqtt += '/';
  });
  return mqtt;
}

std::string star_warning(const std::vector<std::string>& mqtt_filters) {
  for (const std::string& filter : mqtt_filters) {
    bool has_star = false;
    for_each_level(filter, [&](std::string_view level, bool) {
      has_star = has_star || level == "*" || level == "**";
    });
    if (has_star) {
      return "the * in the filter " + filter +
             " is an ordinary character in MQTT; + matches one level and # all that follow (or set "
             "the option wildcards to star)";
    }
  }
  return {};
}

}  // namespace millrace::local
