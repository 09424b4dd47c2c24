// The configuration in the words of core/broker.
#pragma once

#include "core/broker/inbox.hpp"
#include "core/broker/processor.hpp"
#include "server/config/config.hpp"

namespace millrace::server {

broker::ProcessorLimits processor_limits(const Config& config);
broker::InboxLimits inbox_limits(const Config& config);

}  // namespace millrace::server
