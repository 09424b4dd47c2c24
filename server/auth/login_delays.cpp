#include "server/auth/login_delays.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "server/config/config.hpp"

namespace millrace::server {

namespace {

// Halved for each minute that has passed.
std::uint32_t remembered(std::uint32_t failures, LoginDelays::Clock::duration since) {
  const auto halvings = since / LoginDelays::forgets_after;
  return halvings >= 32 ? 0 : failures >> std::max<std::int64_t>(0, halvings);
}

}  // namespace

std::string address_group(const std::string& address) {
  in6_addr v6{};
  // Without the interface behind a link-local one: "fe80::1%eth0".
  const std::string digits = address.substr(0, address.find('%'));
  if (inet_pton(AF_INET6, digits.c_str(), &v6) != 1) return address;
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (IN6_IS_ADDR_V4MAPPED(&v6)) {
    return inet_ntop(AF_INET, v6.s6_addr + 12, text.data(), text.size());
  }
  if (IN6_IS_ADDR_LOOPBACK(&v6)) return address;
  std::memset(v6.s6_addr + 8, 0, 8);
  return std::string(inet_ntop(AF_INET6, &v6, text.data(), text.size())) + "/64";
}

void LoginDelays::note_failure(const Login& login, Clock::time_point now) {
  if (!is_loopback(login.address)) add(addresses_, login.address, now);
  // A token alone comes without a name, and those who bring one are not one user.
  if (!login.user.empty()) add(names_, login.user, now);
  if (proven_.contains(proof_of(login))) add(proven_, proof_of(login), now);
}

// Who comes from this machine may be anybody behind a proxy: that proves nothing.
void LoginDelays::note_success(const Login& login, Clock::time_point now) {
  if (login.user.empty()) return;
  const std::string proof = proof_of(login);
  if (!proven_.contains(proof)) names_.erase(login.user);
  if (is_loopback(login.address)) return;
  if (proven_.size() >= entries_max_ && !proven_.contains(proof)) {
    proven_.erase(std::min_element(
        proven_.begin(), proven_.end(),
        [](const auto& a, const auto& b) { return a.second.last < b.second.last; }));
  }
  proven_[proof] = {0, now};
}

void LoginDelays::add(Table& table, const std::string& key, Clock::time_point now) const {
  if (table.size() >= entries_max_ && !table.contains(key)) {
    std::erase_if(table, [&](const auto& item) {
      return remembered(item.second.failures, now - item.second.last) == 0;
    });
    if (table.size() >= entries_max_) {
      table.erase(std::min_element(table.begin(), table.end(), [](const auto& a, const auto& b) {
        return a.second.last < b.second.last;
      }));
    }
  }
  Entry& entry = table[key];
  const std::uint32_t before = remembered(entry.failures, now - entry.last);
  entry = {std::min(before + 1, 1000u), now};
}

LoginDelays::Clock::time_point LoginDelays::address_due(std::string_view address) const {
  return due(addresses_, address);
}

LoginDelays::Clock::time_point LoginDelays::user_due(const Login& login) const {
  const std::string proof = proof_of(login);
  return proven_.contains(proof) ? due(proven_, proof) : due(names_, login.user);
}

LoginDelays::Clock::time_point LoginDelays::due(const Table& table, std::string_view key) const {
  const auto found = table.find(std::string(key));
  if (found == table.end() || found->second.failures <= free_failures) return {};
  const std::uint32_t doublings = std::min(found->second.failures - free_failures - 1, 20u);
  return found->second.last + std::min(delay_max_, first_delay * (1 << doublings));
}

}  // namespace millrace::server
