// The rows of what the processor and its queue count.
#pragma once

#include <vector>

#include "core/broker/inbox.hpp"
#include "core/broker/ledger.hpp"
#include "core/broker/stats.hpp"
#include "server/observe/metrics.hpp"

namespace millrace::server {

std::vector<MetricRow> broker_metric_rows(const broker::ProcessorStats& stats,
                                          const broker::Inbox& inbox);
std::vector<MetricRow> memory_metric_rows(const broker::ProcessorStats& stats,
                                          const broker::Ledger& ledger);

}  // namespace millrace::server
