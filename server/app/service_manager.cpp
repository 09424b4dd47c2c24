#include "server/app/service_manager.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <optional>

#include "server/observe/log.hpp"

namespace millrace::server {

namespace {

constexpr std::chrono::microseconds interval_max = std::chrono::seconds(10);

std::optional<std::int64_t> number(const char* text) {
  std::int64_t value = 0;
  const char* const end = text + std::strlen(text);
  const auto [stopped, error] = std::from_chars(text, end, value);
  if (error != std::errc() || stopped != end || value <= 0) return std::nullopt;
  return value;
}

std::chrono::microseconds watchdog_of(const ServiceManager::Variables& variables) {
  if (variables.watchdog_usec == nullptr) return {};
  // The variables may have been meant for a process that started this one.
  if (variables.watchdog_pid != nullptr && number(variables.watchdog_pid) != ::getpid()) return {};
  return std::chrono::microseconds(number(variables.watchdog_usec).value_or(0));
}

// A datagram socket that sends to the address; -1 and errno: it cannot.
int connected_socket(std::string_view name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const bool is_path = name.starts_with('/'), is_abstract = name.starts_with('@');
  if ((!is_path && !is_abstract) || name.size() >= sizeof address.sun_path) {
    errno = EINVAL;
    return -1;
  }
  name.copy(address.sun_path, name.size());
  if (is_abstract) address.sun_path[0] = '\0';
  const int descriptor = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return -1;
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  if (::connect(descriptor, reinterpret_cast<const sockaddr*>(&address), size) == 0) {
    return descriptor;
  }
  const int error = errno;
  ::close(descriptor);
  errno = error;
  return -1;
}

// Text from elsewhere, such as a file's name, must not begin a line of its own.
std::string status_line(std::string_view status) {
  std::string line = "STATUS=" + std::string(status);
  std::replace_if(
      line.begin(), line.end(), [](unsigned char c) { return c < 0x20; }, ' ');
  return line;
}

}  // namespace

ServiceManager::Variables ServiceManager::from_environment() {
  return {std::getenv("NOTIFY_SOCKET"), std::getenv("WATCHDOG_USEC"), std::getenv("WATCHDOG_PID")};
}

ServiceManager::ServiceManager(const Variables& variables) {
  if (variables.notify_socket == nullptr) return;
  socket_ = connected_socket(variables.notify_socket);
  if (socket_ < 0) {
    log_warn("service_manager",
             {{"address", variables.notify_socket}, {"error", std::strerror(errno)}});
    return;
  }
  watchdog_ = watchdog_of(variables);
}

ServiceManager::~ServiceManager() {
  if (socket_ >= 0) ::close(socket_);
}

std::chrono::microseconds ServiceManager::interval() const {
  return wants_heartbeat() ? std::min(watchdog_ / 2, interval_max) : interval_max;
}

void ServiceManager::ready(std::string_view status) {
  send("READY=1\n" + status_line(status));
}

void ServiceManager::reloading() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const std::int64_t usec = now.tv_sec * 1'000'000 + now.tv_nsec / 1'000;
  send("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(usec) + "\nSTATUS=reads its configuration");
}

void ServiceManager::stopping(std::string_view status) {
  send("STOPPING=1\n" + status_line(status));
}

void ServiceManager::status(std::string_view status) {
  send(status_line(status));
}

void ServiceManager::alive() {
  send("WATCHDOG=1");
}

void ServiceManager::send(std::string message) {
  if (socket_ < 0) return;
  const bool sent =
      ::send(socket_, message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
  if (!sent && !failed_) {
    failed_ = true;
    log_warn("service_manager", {{"error", std::strerror(errno)}});
  }
}

}  // namespace millrace::server
