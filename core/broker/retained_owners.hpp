// RetainedOwners: how much of the room for retained values those of each user take, so that no user
// can take all of it.
//
// A user has a number while values of his are retained, or about to be; a topic keeps the number of
// the user whose value it has. 0 is nobody: the server's own values, wills, and users beyond 65,535.
//
// Threads: the processor's holder alone.
#pragma once

#include <cassert>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/broker/topic_hash.hpp"

namespace millrace::broker {

class RetainedOwners {
 public:
  using Id = std::uint16_t;
  static constexpr Id nobody = 0;

  // Of a user that has retained something; nobody: he has not.
  Id find(std::string_view user) const {
    const auto found = ids_.find(user);
    return found == ids_.end() ? nobody : found->second;
  }
  Id obtain(std::string_view user) {
    if (const Id known = find(user); known != nobody) return known;
    const auto found = ids_.try_emplace(std::string(user), nobody).first;
    if (!free_.empty()) {
      found->second = free_.back();
      free_.pop_back();
      entries_[found->second] = {found->first, 0, 0};
    } else if (entries_.size() <= UINT16_MAX) {
      found->second = static_cast<Id>(entries_.size());
      entries_.push_back({found->first, 0, 0});
    } else {
      ids_.erase(found);
      return nobody;
    }
    return found->second;
  }

  std::uint64_t bytes(Id id) const { return entries_[id].bytes; }
  std::uint64_t count(Id id) const { return entries_[id].values; }
  // Nothing: nobody.
  std::optional<std::string_view> user(Id id) const {
    return id == nobody ? std::nullopt : std::optional<std::string_view>(entries_[id].user);
  }
  void charge(Id id, std::uint64_t bytes) {
    if (id == nobody) return;
    ++entries_[id].values;
    entries_[id].bytes += bytes;
  }
  // What charge() was told. The last one ends the number.
  void release(Id id, std::uint64_t bytes) {
    if (id == nobody) return;
    Entry& entry = entries_[id];
    assert(entry.values > 0 && entry.bytes >= bytes);
    entry.bytes -= bytes;
    if (--entry.values > 0) return;
    assert(entry.bytes == 0);
    ids_.erase(entry.user);
    free_.push_back(id);
  }

 private:
  struct Entry {
    std::string user;
    std::uint64_t bytes = 0;
    std::uint64_t values = 0;
  };

  struct HashOfUser : TopicHash {
    using is_transparent = void;
  };

  std::unordered_map<std::string, Id, HashOfUser, std::equal_to<>> ids_;
  std::vector<Entry> entries_{Entry{}};  // by number; the first is nobody's
  std::vector<Id> free_;
};

}  // namespace millrace::broker
