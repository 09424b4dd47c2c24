// Filters as the users of the client library write them.
//
// Thread contract: any thread.
#pragma once

#include <string>
#include <vector>

#include "core/shm/include/millrace/local.hpp"

namespace millrace::local {

// The MQTT filter that is meant by `filter`. With Wildcards::star a level `*` becomes `+`, and a
// last level `**` becomes `#`.
std::string to_mqtt_filter(std::string_view filter, Wildcards wildcards);

// Text for a filter with a level `*`, which MQTT takes literally; empty if none has one.
std::string star_warning(const std::vector<std::string>& mqtt_filters);

}  // namespace millrace::local
