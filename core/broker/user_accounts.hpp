// UserAccounts: what all sessions of one user hold together, against the limit for each user
// (memory.user_bytes_max), so that nobody takes the memory of all by being very many clients.
//
// A session counts with what it held when that was last noted (Batch::note_held()), in KiB, rounded
// up. What it keeps of its account is whether that is full, as of then: who is told so looks again
// (note()) before it acts on it.
//
// What always holds: an account is the sum of what its sessions were noted with, and is there as long
// as that is not 0; a session that ended counts nothing, nor does that of a link to another broker.
// Without a limit nothing is counted, but what was counted under one before leaves the accounts at the
// next note.
//
// Threads: the processor's holder alone.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "core/broker/check.hpp"
#include "core/broker/session.hpp"
#include "core/broker/topic_hash.hpp"

namespace millrace::broker {

class UserAccounts {
 public:
  // 0: no limit.
  void set_limit(std::uint64_t bytes_max) { limit_kib_ = bytes_max / 1024; }
  bool counts() const { return limit_kib_ != 0 || !accounts_.empty(); }

  void note(Session& session) {
    const bool none = session.ended || session.origin != 0 || limit_kib_ == 0;
    const std::uint32_t kib = none ? 0 : kib_of(session.held_bytes());
    auto account = accounts_.find(session.owner());
    if (kib != session.user_kib) {
      if (account == accounts_.end()) account = accounts_.emplace(session.owner(), 0).first;
      MILLRACE_CHECK(account->second >= session.user_kib);
      account->second += kib;
      account->second -= session.user_kib;
      session.user_kib = kib;
    }
    session.user_is_full = !none && account != accounts_.end() && is_full(account->second);
    if (account != accounts_.end() && account->second == 0) accounts_.erase(account);
  }

  // Nothing more of this user is to be kept.
  bool is_full(std::string_view user) const {
    if (limit_kib_ == 0) return false;
    const auto account = accounts_.find(user);
    return account != accounts_.end() && is_full(account->second);
  }
  std::uint64_t kib(std::string_view user) const {
    const auto account = accounts_.find(user);
    return account == accounts_.end() ? 0 : account->second;
  }
  std::size_t size() const { return accounts_.size(); }

 private:
  struct HashOfUser : TopicHash {
    using is_transparent = void;
  };

  static std::uint32_t kib_of(std::uint64_t bytes) {
    return static_cast<std::uint32_t>((bytes + 1023) / 1024);
  }
  bool is_full(std::uint64_t kib) const { return kib >= limit_kib_; }

  std::uint64_t limit_kib_ = 0;
  std::unordered_map<std::string, std::uint64_t, HashOfUser, std::equal_to<>> accounts_;
};

}  // namespace millrace::broker
