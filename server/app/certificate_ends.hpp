// When each listener's certificate expires, for the metrics.
//
// Threads: set() main's; the metrics any.
#pragma once

#include <string>
#include <vector>

#include "server/observe/metrics.hpp"

namespace millrace::server {

class CertificateEnds {
 public:
  explicit CertificateEnds(std::vector<std::string> listeners)
      : listeners_(std::move(listeners)), ends_s_(listeners_.size()) {}

  // In Unix time; 0: the listener of that index uses no TLS.
  void set(std::size_t index, std::int64_t ends_s) {
    ends_s_[index].set(static_cast<std::uint64_t>(ends_s));
  }

  // Refers to this object.
  std::vector<MetricRow> metric_rows() const {
    return {{"millrace_tls_certificate_not_after_seconds",
             MetricType::gauge,
             {"listener"},
             "When the listener's certificate, or one of its chain, expires, since 1970.",
             [this](MetricWriter& writer) {
               for (std::size_t i = 0; i < listeners_.size(); ++i) {
                 if (ends_s_[i].value() == 0) continue;
                 writer.sample(static_cast<double>(ends_s_[i].value()), {listeners_[i]});
               }
             }}};
  }

 private:
  const std::vector<std::string> listeners_;
  std::vector<Counter> ends_s_;
};

}  // namespace millrace::server
