#include "server/mqtt/binding.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace millrace::server {

namespace {
// For `late` the kernel may hold this many times what it may hold for `latest`.
constexpr std::uint32_t late_lowat_factor = 8;
}  // namespace

void limit_unsent_bytes(int fd, broker::Outbox::Binding binding, const OutboxConfig& config) {
  const std::uint32_t bytes = config.notsent_lowat_bytes;
  int lowat = -1;  // the system's default
  if (binding == broker::Outbox::Binding::latest) lowat = static_cast<int>(bytes);
  if (binding == broker::Outbox::Binding::late) lowat = static_cast<int>(bytes * late_lowat_factor);
  ::setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof lowat);
}

}  // namespace millrace::server
