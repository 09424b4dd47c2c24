#include "server/net/tcp_info.hpp"

// The kernel's own header: glibc's <netinet/tcp.h>, which must not be included beside it, has an
// older tcp_info without the window.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>

namespace millrace::server {

std::optional<PathSample> sample_path(int fd, std::int64_t now_ns) {
  tcp_info info{};
  socklen_t length = sizeof info;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return std::nullopt;
  if (length < offsetof(tcp_info, tcpi_snd_wnd) + sizeof info.tcpi_snd_wnd) return std::nullopt;
  PathSample sample;
  sample.now_ns = now_ns;
  sample.acked_bytes = info.tcpi_bytes_acked;
  sample.unsent_bytes = info.tcpi_notsent_bytes;
  // Each byte once, however often it was sent.
  const std::uint64_t sent = info.tcpi_bytes_sent - info.tcpi_bytes_retrans;
  if (sent > info.tcpi_bytes_acked) {
    sample.flight_bytes = static_cast<std::uint32_t>(sent - info.tcpi_bytes_acked);
  }
  sample.window_bytes = info.tcpi_snd_wnd;
  sample.window_step = 1u << info.tcpi_snd_wscale;  // as the peer announced it
  // The kernel says UINT32_MAX before the first measurement.
  sample.least_rtt_us = info.tcpi_min_rtt == UINT32_MAX ? 0 : info.tcpi_min_rtt;
  sample.segment_bytes = info.tcpi_snd_mss;
  return sample;
}

}  // namespace millrace::server
