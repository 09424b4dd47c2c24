// When each listener's certificate expires, and its list of revoked ones, for the metrics.
//
// Threads: set() main's; the metrics any.
#pragma once

#include <string>
#include <vector>

#include "server/auth/tls_context.hpp"
#include "server/observe/metrics.hpp"

namespace millrace::server {

class CertificateEnds {
 public:
  explicit CertificateEnds(std::vector<std::string> listeners)
      : listeners_(std::move(listeners)), ends_s_(listeners_.size()), crl_ends_s_(ends_s_.size()) {}

  // Of the listener of that index, which may use no TLS, or have no such list.
  void set(std::size_t index, const TlsSetup& tls) {
    ends_s_[index].set(static_cast<std::uint64_t>(tls.certificate_ends_s));
    crl_ends_s_[index].set(static_cast<std::uint64_t>(tls.crl_ends_s));
  }

  // Refers to this object.
  std::vector<MetricRow> metric_rows() const {
    return {
        {"millrace_tls_certificate_not_after_seconds",
         MetricType::gauge,
         {"listener"},
         "When the listener's certificate, or one of its chain, expires, since 1970.",
         [this](MetricWriter& writer) { write(ends_s_, writer); }},
        {"millrace_tls_crl_next_update_seconds",
         MetricType::gauge,
         {"listener"},
         "When the first of the listener's lists of revoked certificates has to be replaced, since "
         "1970: from then on no client's certificate is accepted.",
         [this](MetricWriter& writer) { write(crl_ends_s_, writer); }}};
  }

 private:
  void write(const std::vector<Counter>& times_s, MetricWriter& writer) const {
    for (std::size_t i = 0; i < listeners_.size(); ++i) {
      if (times_s[i].value() == 0) continue;
      writer.sample(static_cast<double>(times_s[i].value()), {listeners_[i]});
    }
  }

  const std::vector<std::string> listeners_;
  std::vector<Counter> ends_s_;
  std::vector<Counter> crl_ends_s_;
};

}  // namespace millrace::server
