// Guests: counts connections by address, user and listener, and how fast new ones come, for the limits
// on them; and knows which addresses are banned. All listeners and I/O threads share one.
//
// Asked a few times in the life of a connection, and of messages for those alone that come over HTTP.
// An address is one IPv4 address or an IPv6 /64. What is kept of addresses without a connection is
// bounded: that of the one which has had none for longest is dropped first, its ban included.
//
// Threads: any.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "server/config/config.hpp"
#include "server/observe/counters.hpp"
#include "server/observe/metrics.hpp"

namespace millrace::server {

// So much in a second, and so much at once; a debt is paid off before more is to be had.
class RateBucket {
 public:
  using Clock = std::chrono::steady_clock;

  // 0: no limit.
  explicit RateBucket(double per_second = 0, Clock::time_point now = {})
      : per_second_(per_second), left_(per_second), last_(now) {}

  bool limits() const { return per_second_ > 0; }
  void take(double amount) {
    if (limits()) left_ -= amount;
  }
  // Whether something is left. What came in by the time counts.
  bool has_some(Clock::time_point now) {
    if (!limits()) return true;
    const std::chrono::duration<double> passed = now - last_;
    if (passed.count() > 0) {
      left_ = std::min(per_second_, left_ + passed.count() * per_second_);
      last_ = now;
    }
    return left_ >= 1;
  }
  // As of the last has_some().
  std::chrono::duration<double> until_some() const {
    return std::chrono::duration<double>(limits() && left_ < 1 ? (1 - left_) / per_second_ : 0);
  }
  // Nothing was taken of it lately.
  bool is_full(Clock::time_point now) const {
    const std::chrono::duration<double> passed = now - last_;
    return !limits() || left_ + passed.count() * per_second_ >= per_second_;
  }

 private:
  double per_second_;
  double left_;
  Clock::time_point last_;
};

// What the clients of one listener may publish together. Any thread.
class ListenerRate {
 public:
  using Clock = RateBucket::Clock;
  explicit ListenerRate(const ListenerConfig& listener)
      : drops_qos0_(listener.drop_qos0_over_rate),
        messages_(listener.messages_per_second, Clock::now()),
        bytes_(static_cast<double>(listener.bytes_per_second), Clock::now()) {}

  // What exceeds it at QoS 0 is dropped; else it waits.
  bool drops_qos0() const { return drops_qos0_; }
  void take(double messages, double bytes) {
    const std::lock_guard lock(mutex_);
    messages_.take(messages);
    bytes_.take(bytes);
  }
  bool has_some(Clock::time_point now) {
    const std::lock_guard lock(mutex_);
    const bool messages = messages_.has_some(now), bytes = bytes_.has_some(now);
    return messages && bytes;
  }

 private:
  const bool drops_qos0_;
  std::mutex mutex_;  // of all below
  RateBucket messages_;
  RateBucket bytes_;
};

class Guests {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::size_t addresses_max = 65'536;
  static constexpr std::size_t http_rates_min = 256;

  explicit Guests(const Config& config);

  // Whether anything of this is limited; if not, nobody needs to ask.
  bool limit_addresses() const;
  bool limit_users() const { return connection_.per_user_max > 0; }
  // Null: what that listener's clients publish together is not limited.
  ListenerRate* rate_of(std::size_t listener) const {
    return listener < rates_.size() ? rates_[listener].get() : nullptr;
  }

  enum class Verdict : std::uint8_t { welcome, too_many, too_fast, banned };
  // Of a new connection; `listener`: its number. If it is let in (`welcome`), leave() follows.
  Verdict enter(const std::string& address, std::size_t listener, Clock::time_point now);
  void leave(const std::string& address, std::size_t listener);
  // A connection that is not let in may stay until its CONNECT was answered; then end_telling()
  // follows. False: `max` of all addresses together do so already.
  bool begin_telling(std::uint32_t max);
  void end_telling();
  // Of a new client; false: its user has too many. The anonymous are not counted, and connections
  // with the same client identifier count as one: the newer one takes the older one's session over.
  bool enter_user(const std::string& user, const std::string& client_id);
  void leave_user(const std::string& user, const std::string& client_id);

  // A login from that address failed, by whatever way it came.
  void note_failure(const std::string& address, Clock::time_point now);
  std::size_t addresses_known() const {
    const std::lock_guard lock(mutex_);
    return addresses_.size();
  }
  // Of a message that a user publishes over HTTP, where a connection says nothing: all that he
  // publishes so has the rates of one client. Nothing: it is taken; else when the next one may be.
  std::optional<std::chrono::seconds> charge_http_publish(const std::string& user,
                                                          std::size_t bytes, Clock::time_point now);
  std::size_t rates_known() const {
    const std::lock_guard lock(mutex_);
    return http_rates_.size();
  }

  // Whether a request over HTTP from that address is refused because it is banned.
  bool refuse_request(const std::string& address, Clock::time_point now);
  std::size_t banned(Clock::time_point now) const;
  struct Ban {
    std::string address;
    std::chrono::seconds left{};
  };
  std::vector<Ban> bans(Clock::time_point now) const;  // by address
  // False: it is not banned.
  bool lift_ban(const std::string& address, Clock::time_point now);

  // By a reload, which lifts the bans that there are.
  void set_ban(const BanConfig& ban);

  std::vector<MetricRow> metric_rows() const;

 private:
  struct Address {
    std::uint32_t connections = 0;
    std::uint32_t failures = 0;
    std::uint32_t arrivals = 0;
    RateBucket rate;
    Clock::time_point failing_since{};
    Clock::time_point arriving_since{};
    Clock::time_point banned_until{};
    std::list<const std::string*>::iterator place;  // while it has no connection
  };

  struct HttpRate {
    RateBucket messages;
    RateBucket bytes;

    bool has_some(Clock::time_point now) {
      const bool some_messages = messages.has_some(now), some_bytes = bytes.has_some(now);
      return some_messages && some_bytes;
    }
  };

  Address& address_of(const std::string& address, Clock::time_point now);
  HttpRate& http_rate_of(const std::string& user, Clock::time_point now);
  // One more of these within the window. False: so many are allowed.
  bool exceeds(std::uint32_t& count, Clock::time_point& since, std::uint32_t max,
               Clock::time_point now) const;
  void ban(const std::string& address, Address& one, Clock::time_point now) const;

  const ConnectionConfig connection_;
  std::vector<std::uint32_t> listener_max_;  // constant, as the next
  std::vector<std::unique_ptr<ListenerRate>> rates_;

  mutable std::mutex mutex_;  // of all below
  BanConfig ban_;
  std::unordered_map<std::string, Address> addresses_;
  std::list<const std::string*> without_connection_;  // the names in addresses_, the oldest first
  using Connections = std::unordered_map<std::string, std::uint32_t>;  // by client identifier
  std::unordered_map<std::string, Connections> users_;
  std::unordered_map<std::string, HttpRate> http_rates_;  // of users who published lately
  std::size_t http_rates_max_ = http_rates_min;           // then those at rest are forgotten
  std::vector<std::uint32_t> listener_connections_;
  std::uint32_t telling_ = 0;
  RateBucket rate_;
  // Written under the mutex: one thread at a time.
  Counter address_too_many_;
  Counter listener_too_many_;
  Counter user_too_many_;
  Counter too_fast_;
  Counter banned_;
  Counter banned_requests_;
  Counter http_too_fast_;
};

}  // namespace millrace::server
