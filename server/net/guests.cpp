#include "server/net/guests.hpp"

#include <algorithm>

#include "server/observe/log.hpp"

namespace millrace::server {

Guests::Guests(const Config& config)
    : connection_(config.connection),
      ban_(config.access.ban),
      rate_(config.connection.per_second_max, Clock::now()) {
  for (const ListenerConfig& listener : config.listeners) {
    listener_max_.push_back(listener.connections_max);
    rates_.push_back(listener.messages_per_second == 0 && listener.bytes_per_second == 0
                         ? nullptr
                         : std::make_unique<ListenerRate>(listener));
  }
  listener_connections_.resize(listener_max_.size());
}

bool Guests::limit_addresses() const {
  const bool by_listener = std::any_of(listener_max_.begin(), listener_max_.end(),
                                       [](std::uint32_t max) { return max > 0; });
  const std::lock_guard lock(mutex_);
  return by_listener || connection_.per_address_max > 0 || connection_.per_second_max > 0 ||
         connection_.per_second_and_address_max > 0 || ban_.failures > 0 || ban_.connections > 0;
}

Guests::Address& Guests::address_of(const std::string& address, Clock::time_point now) {
  if (const auto found = addresses_.find(address); found != addresses_.end()) return found->second;
  if (addresses_.size() >= addresses_max && !without_connection_.empty()) {
    addresses_.erase(addresses_.find(*without_connection_.front()));
    without_connection_.pop_front();
  }
  const auto place = addresses_.try_emplace(address).first;
  Address& made = place->second;
  made.rate = RateBucket(connection_.per_second_and_address_max, now);
  made.place = without_connection_.insert(without_connection_.end(), &place->first);
  return made;
}

Guests::Verdict Guests::enter(const std::string& address, std::size_t listener,
                              Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  Address& from = address_of(address, now);
  if (from.banned_until > now) {
    banned_.add();
    return Verdict::banned;
  }
  if (ban_.connections > 0 && !is_loopback(address) &&
      exceeds(from.arrivals, from.arriving_since, ban_.connections, now)) {
    ban(address, from, now);
    banned_.add();
    return Verdict::banned;
  }
  if (!from.rate.has_some(now)) {
    too_fast_.add();
    return Verdict::too_fast;
  }
  from.rate.take(1);
  const bool listed = listener < listener_max_.size();
  const bool listener_full = listed && listener_max_[listener] > 0 &&
                             listener_connections_[listener] >= listener_max_[listener];
  const bool address_full =
      connection_.per_address_max > 0 && from.connections >= connection_.per_address_max;
  if (address_full || listener_full) {
    (address_full ? address_too_many_ : listener_too_many_).add();
    return Verdict::too_many;
  }
  // Last: whoever is refused for itself leaves the common rate to others.
  if (!rate_.has_some(now)) {
    too_fast_.add();
    return Verdict::too_fast;
  }
  rate_.take(1);
  if (from.connections++ == 0) without_connection_.erase(from.place);
  if (listed) ++listener_connections_[listener];
  return Verdict::welcome;
}

void Guests::leave(const std::string& address, std::size_t listener) {
  const std::lock_guard lock(mutex_);
  const auto found = addresses_.find(address);
  if (found != addresses_.end() && --found->second.connections == 0) {
    found->second.place = without_connection_.insert(without_connection_.end(), &found->first);
  }
  if (listener < listener_connections_.size()) --listener_connections_[listener];
}

bool Guests::begin_telling(std::uint32_t max) {
  const std::lock_guard lock(mutex_);
  if (telling_ >= max) return false;
  ++telling_;
  return true;
}

void Guests::end_telling() {
  const std::lock_guard lock(mutex_);
  --telling_;
}

bool Guests::enter_user(const std::string& user, const std::string& client_id) {
  if (user.empty()) return true;
  const std::lock_guard lock(mutex_);
  Connections& clients = users_[user];
  if (clients.size() >= connection_.per_user_max && !clients.contains(client_id)) {
    user_too_many_.add();
    return false;
  }
  ++clients[client_id];
  return true;
}

void Guests::leave_user(const std::string& user, const std::string& client_id) {
  if (user.empty()) return;
  const std::lock_guard lock(mutex_);
  const auto found = users_.find(user);
  if (found == users_.end()) return;
  Connections& clients = found->second;
  const auto client = clients.find(client_id);
  if (client != clients.end() && --client->second == 0) clients.erase(client);
  if (clients.empty()) users_.erase(found);
}

Guests::HttpRate& Guests::http_rate_of(const std::string& user, Clock::time_point now) {
  if (const auto found = http_rates_.find(user); found != http_rates_.end()) return found->second;
  // A full bucket is as good as a new one. Those that are not full stay, however many they are.
  if (http_rates_.size() >= http_rates_max_) {
    std::erase_if(http_rates_, [now](const auto& item) {
      return item.second.messages.is_full(now) && item.second.bytes.is_full(now);
    });
    http_rates_max_ = std::max(http_rates_min, 2 * http_rates_.size());
  }
  const auto bytes = static_cast<double>(connection_.bytes_per_second);
  return http_rates_
      .try_emplace(
          user, HttpRate{RateBucket(connection_.messages_per_second, now), RateBucket(bytes, now)})
      .first->second;
}

std::optional<std::chrono::seconds> Guests::charge_http_publish(const std::string& user,
                                                                std::size_t bytes,
                                                                Clock::time_point now) {
  if (connection_.messages_per_second == 0 && connection_.bytes_per_second == 0) return {};
  const std::lock_guard lock(mutex_);
  HttpRate& rate = http_rate_of(user, now);
  if (rate.has_some(now)) {
    rate.messages.take(1);
    rate.bytes.take(static_cast<double>(bytes));
    return {};
  }
  http_too_fast_.add();
  const auto wait = std::max(rate.messages.until_some(), rate.bytes.until_some());
  return std::max(std::chrono::seconds(1), std::chrono::ceil<std::chrono::seconds>(wait));
}

// A proxy in front of the server makes everybody come from its own machine.
void Guests::note_failure(const std::string& address, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  if (ban_.failures == 0 || is_loopback(address)) return;
  Address& from = address_of(address, now);
  if (exceeds(from.failures, from.failing_since, ban_.failures - 1, now)) ban(address, from, now);
}

bool Guests::exceeds(std::uint32_t& count, Clock::time_point& since, std::uint32_t max,
                     Clock::time_point now) const {
  if (now - since >= std::chrono::seconds(ban_.window_seconds)) {
    since = now;
    count = 0;
  }
  return ++count > max;
}

void Guests::ban(const std::string& address, Address& one, Clock::time_point now) const {
  one.failures = one.arrivals = 0;
  one.banned_until = now + std::chrono::seconds(ban_.seconds);
  log_warn("address.banned", {{"peer", address}, {"seconds", ban_.seconds}});
}

void Guests::set_ban(const BanConfig& ban) {
  const std::lock_guard lock(mutex_);
  ban_ = ban;
  for (auto& [address, one] : addresses_) {
    one.banned_until = {};
    one.failures = one.arrivals = 0;
  }
}

bool Guests::refuse_request(const std::string& address, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  const auto found = addresses_.find(address);
  if (found == addresses_.end() || found->second.banned_until <= now) return false;
  banned_requests_.add();
  return true;
}

std::size_t Guests::banned(Clock::time_point now) const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::size_t>(
      std::count_if(addresses_.begin(), addresses_.end(),
                    [&](const auto& item) { return item.second.banned_until > now; }));
}

std::vector<Guests::Ban> Guests::bans(Clock::time_point now) const {
  std::vector<Ban> bans;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [address, one] : addresses_) {
      if (one.banned_until <= now) continue;
      bans.push_back({address, std::chrono::ceil<std::chrono::seconds>(one.banned_until - now)});
    }
  }
  std::sort(bans.begin(), bans.end(),
            [](const Ban& one, const Ban& other) { return one.address < other.address; });
  return bans;
}

bool Guests::lift_ban(const std::string& address, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  const auto found = addresses_.find(address);
  if (found == addresses_.end() || found->second.banned_until <= now) return false;
  found->second.banned_until = {};
  found->second.failures = found->second.arrivals = 0;
  return true;
}

std::vector<MetricRow> Guests::metric_rows() const {
  return {
      {"millrace_connections_refused_total",
       MetricType::counter,
       {"reason"},
       "Connections that were not let in because of the limits for addresses, users and "
       "listeners, or a ban.",
       [this](MetricWriter& writer) {
         writer.sample(static_cast<double>(address_too_many_.value()), {"too_many_of_address"});
         writer.sample(static_cast<double>(listener_too_many_.value()), {"too_many_of_listener"});
         writer.sample(static_cast<double>(user_too_many_.value()), {"too_many_of_user"});
         writer.sample(static_cast<double>(too_fast_.value()), {"too_fast"});
         writer.sample(static_cast<double>(banned_.value()), {"banned"});
       }},
      counter_row("millrace_http_requests_banned_total", MetricType::counter,
                  "HTTP requests that were refused because their address is banned (access.ban).",
                  banned_requests_),
      counter_row("millrace_http_publishes_over_rate_total", MetricType::counter,
                  "Messages over HTTP that were refused because they exceeded "
                  "connection.messages_per_second or connection.bytes_per_second.",
                  http_too_fast_),
      {"millrace_addresses_banned",
       MetricType::gauge,
       {},
       "Addresses that are banned now (access.ban).",
       [this](MetricWriter& writer) { writer.sample(static_cast<double>(banned(Clock::now()))); }}};
}

}  // namespace millrace::server
