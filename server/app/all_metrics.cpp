#include "server/app/all_metrics.hpp"

#include "core/broker/inbox.hpp"
#include "core/broker/processor.hpp"
#include "server/app/certificate_ends.hpp"
#include "server/app/store_host.hpp"
#include "server/auth/worker.hpp"
#include "server/http/events.hpp"
#include "server/http/server.hpp"
#include "server/http/topics.hpp"
#include "server/local/local_host.hpp"
#include "server/net/guests.hpp"
#include "server/net/http_hook.hpp"
#include "server/observe/broker_metrics.hpp"
#include "server/observe/metrics.hpp"
#include "server/upstream/upstreams.hpp"

namespace millrace::server {

std::string all_metrics_markdown() {
  broker::Processor processor{broker::ProcessorLimits{}};
  const broker::Inbox inbox{broker::InboxLimits{}, processor};
  const HttpCounters http;
  const TopicCounters topics;
  const EventCounters events;
  Metrics metrics;
  const Worker worker;
  const Guests guests{Config()};
  const CertificateEnds certificate_ends({});
  metrics.add(io_metric_rows({}));
  metrics.add(worker_metric_rows(worker));
  metrics.add(HttpHook::metric_rows(nullptr));
  metrics.add(broker_metric_rows(processor.stats(), inbox));
  metrics.add(memory_metric_rows(processor.stats(), processor.ledger()));
  metrics.add(store_metric_rows(nullptr, processor.stats()));
  metrics.add(http_metric_rows(http));
  metrics.add(topic_metric_rows(topics));
  metrics.add(event_metric_rows(events));
  metrics.add(local_metric_rows(nullptr));
  const Upstreams upstreams({});
  metrics.add(upstreams.metric_rows());
  metrics.add(guests.metric_rows());
  metrics.add(certificate_ends.metric_rows());
  metrics.add(process_metric_rows());
  metrics.add(log_metric_rows());
  return metrics_table_markdown(metrics.rows());
}

}  // namespace millrace::server
