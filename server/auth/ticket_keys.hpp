// TicketKeys: what TLS session tickets are sealed with. A key seals for an hour and opens for one
// more; then it is gone, and with it what could open the sessions of recorded connections.
//
// Source: RFC 5077, section 4; RFC 8446, section 4.6.1.
//
// Threads: any.
#pragma once

#include <openssl/ssl.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

namespace millrace::server {

struct TicketKey {
  std::array<std::uint8_t, 16> name{};  // stands in the ticket
  std::array<std::uint8_t, 32> cipher{};
  std::array<std::uint8_t, 32> mac{};
};

class TicketKeys {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::hours seals_for{1};

  explicit TicketKeys(Clock::time_point now);
  ~TicketKeys();
  TicketKeys(const TicketKeys&) = delete;
  TicketKeys& operator=(const TicketKeys&) = delete;

  // The key of now, for a new ticket.
  TicketKey sealing(Clock::time_point now);
  struct Found {
    TicketKey key;
    bool is_current;  // else the client should get a new ticket
  };
  // The key of that name; nothing: there is none any more.
  std::optional<Found> opening(const std::uint8_t* name, Clock::time_point now);

  // Has the context seal by these keys. Contexts of one listener have them in common: a connection
  // changes from one to another when the client asks for a name.
  static bool install(SSL_CTX* context, std::shared_ptr<TicketKeys> keys);

 private:
  void rotate(Clock::time_point now);

  std::mutex mutex_;
  TicketKey current_;
  TicketKey before_;
  Clock::time_point since_;  // of current_
};

}  // namespace millrace::server
