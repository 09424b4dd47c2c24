// LoginDelays: how long the next password of an address, and of a user name, has to wait.
//
// The first failures cost nothing: people mistype. From then on each doubles the wait, up to
// access.login_delay_max_ms, and every quiet minute halves what is remembered. An address's wait
// holds up all that comes from it; a name's only the logins with that name, from any address, so it
// slows down a guess that is spread over many machines. Who has proven a name from an address does
// not wait there for the failures of others with it, but for its own alone.
//
// IPv6 addresses count by their /64: whoever has one has all of it. The machine's own addresses
// are never held up, since a proxy in front of the server makes everybody come from there.
//
// Bounded: beyond entries_max addresses or names the one that failed longest ago is forgotten, and
// beyond as many proofs the oldest.
//
// Threads: whoever holds its owner's lock.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

namespace millrace::server {

// Who tries to log in.
struct Login {
  std::string address;  // see address_group()
  std::string user;
};

// The text of an address as failures are counted by: IPv6 by its first 64 bits.
std::string address_group(const std::string& address);

class LoginDelays {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::uint32_t free_failures = 5;
  static constexpr std::chrono::milliseconds first_delay{100};
  static constexpr std::chrono::seconds forgets_after{60};

  explicit LoginDelays(std::size_t entries_max = 4096) : entries_max_(entries_max) {}

  void set_delay_max(std::chrono::milliseconds max) { delay_max_ = max; }

  void note_failure(const Login& login, Clock::time_point now);
  // The name has been proven: the first time from there, its failures were its owner's. The
  // address's stay.
  void note_success(const Login& login, Clock::time_point now);

  // When the next attempt may be looked at; in the past: at once.
  Clock::time_point address_due(std::string_view address) const;
  Clock::time_point user_due(const Login& login) const;

  std::size_t size() const { return addresses_.size() + names_.size() + proven_.size(); }

 private:
  struct Entry {
    std::uint32_t failures = 0;
    Clock::time_point last;
  };
  using Table = std::unordered_map<std::string, Entry>;

  static std::string proof_of(const Login& login) { return login.address + '\0' + login.user; }
  void add(Table& table, const std::string& key, Clock::time_point now) const;
  Clock::time_point due(const Table& table, std::string_view key) const;

  const std::size_t entries_max_;
  std::chrono::milliseconds delay_max_{5000};
  Table addresses_;
  Table names_;
  Table proven_;  // by proof_of(), with their own failures since
};

}  // namespace millrace::server
