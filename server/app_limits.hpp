// The configuration in the words of core/broker.
#pragma once

#include "core/broker/inbox.hpp"
#include "core/broker/processor.hpp"
#include "core/shm/door_core.hpp"
#include "core/shm/door_loop.hpp"
#include "server/config.hpp"

namespace millrace::server {

broker::ProcessorLimits processor_limits(const Config& config);
broker::InboxLimits inbox_limits(const Config& config);

shm::DoorOptions door_options(const Config& config, std::uint64_t epoch);
shm::DoorLoopOptions door_loop_options(const Config& config, std::uint64_t epoch);

}  // namespace millrace::server
