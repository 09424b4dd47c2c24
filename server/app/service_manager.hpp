// ServiceManager: tells systemd how the server is, if systemd started it (Type=notify in the unit): that
// it serves, in words for `systemctl status`, that it reloads or stops, and that it is alive.
//
// The protocol is that of sd_notify(3): datagrams of VARIABLE=value lines to the Unix socket that
// NOTIFY_SOCKET names. docs/decisions says why it is not libsystemd's. Without that variable, nothing is
// sent. A manager that does not listen is no reason to stop serving: that is logged, once.
//
// Threads: one thread at a time.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace millrace::server {

class ServiceManager {
 public:
  // The variables' values; null: not set.
  struct Variables {
    const char* notify_socket = nullptr;  // a path, or "@" and an abstract name
    const char* watchdog_usec = nullptr;
    const char* watchdog_pid = nullptr;
  };
  static Variables from_environment();

  explicit ServiceManager(const Variables& variables);
  ~ServiceManager();
  ServiceManager(const ServiceManager&) = delete;
  ServiceManager& operator=(const ServiceManager&) = delete;

  bool is_there() const { return socket_ >= 0; }
  bool wants_heartbeat() const { return watchdog_.count() > 0; }
  // How often to call status(), and alive() if that is wanted: twice in the watchdog's time, and at
  // least every ten seconds.
  std::chrono::microseconds interval() const;

  void ready(std::string_view status);  // also at the end of a reload
  void reloading();
  void stopping(std::string_view status);
  void status(std::string_view status);
  void alive();

 private:
  void send(std::string message);

  int socket_ = -1;
  std::chrono::microseconds watchdog_{0};
  bool failed_ = false;
};

}  // namespace millrace::server
