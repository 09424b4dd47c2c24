// Converts the filters given to the client library into MQTT topic filters.
//
// Thread contract: any thread.
#pragma once

#include <string>
#include <vector>

#include "core/shm/include/millrace/local.hpp"

namespace millrace::local {

// The MQTT filter for `filter`. With Wildcards::star a level `*` becomes `+`, and a last level `**`
// becomes `#`; otherwise it is unchanged.
std::string to_mqtt_filter(std::string_view filter, Wildcards wildcards);

// A warning about a filter with a level `*` or `**`, which MQTT takes literally; empty if none has
// one.
std::string star_warning(const std::vector<std::string>& mqtt_filters);

}  // namespace millrace::local
