// The rows of what the processor and its queue count.
#pragma once

#include <vector>

#include "core/broker/inbox.hpp"
#include "core/broker/stats.hpp"
#include "server/observe/metrics.hpp"

namespace millrace::server {

std::vector<MetricRow> broker_metric_rows(const broker::ProcessorStats& stats,
                                          const broker::Inbox& inbox);

}  // namespace millrace::server
