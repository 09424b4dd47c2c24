// PublishRefusal: why the processor does not take a message, or its value. Who publishes by MQTT is told
// so by a reason code, which says less.
#pragma once

#include <cstdint>

namespace millrace::broker {

enum class PublishRefusal : std::uint8_t {
  user_is_full,      // its user has as many retained values, or as much in them, as one user may
  slots_are_full,    // all users together have
  memory_is_scarce,  // and the value takes more than the one that it would replace
  store_is_full,     // the disk
  store_fails
};

}  // namespace millrace::broker
