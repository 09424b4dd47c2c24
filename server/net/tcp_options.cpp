#include "server/net/tcp_options.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>

namespace millrace::server {

namespace {

constexpr int keep_alive_probes = 4;  // unanswered, they end a connection

bool set(int fd, int level, int name, int value) {
  return ::setsockopt(fd, level, name, &value, sizeof value) == 0;
}

}  // namespace

bool set_tcp_options(int fd, const ConnectionConfig& limits) {
  if (!set(fd, IPPROTO_TCP, TCP_NODELAY, 1)) return false;
  if (limits.tcp_keep_alive_seconds > 0) {
    const int idle_s = static_cast<int>(limits.tcp_keep_alive_seconds);
    const int interval_s = std::max(1, idle_s / keep_alive_probes);
    if (!set(fd, SOL_SOCKET, SO_KEEPALIVE, 1) || !set(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_s) ||
        !set(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval_s) ||
        !set(fd, IPPROTO_TCP, TCP_KEEPCNT, keep_alive_probes)) {
      return false;
    }
  }
  if (limits.tcp_user_timeout_seconds == 0) return true;
  const int timeout_ms = static_cast<int>(limits.tcp_user_timeout_seconds * 1000);
  return set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, timeout_ms);
}

}  // namespace millrace::server
