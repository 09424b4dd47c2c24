// Tail: what the batches of the log since the last snapshot say together: of each key the last word.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "core/store/format.hpp"

namespace millrace::store {

class Tail {
 public:
  // Copies the payload of a batch. False: it is no sequence of records, and none of them counts.
  bool add(BytesView payload);
  // After the last one.
  void sort();

  struct Entry {
    Key key;
    std::uint64_t order = 0;  // of the record, over all
    std::string_view value;
    std::uint64_t body = 0;
    bool erased = false;
  };
  // In the order of keys, one for each; `erased` ones hide what the snapshot has.
  const std::vector<Entry>& entries() const { return entries_; }
  // The snapshot's records of this group are gone.
  bool group_erased(const Key& key) const {
    return !groups_.empty() && groups_.contains({key.space, key.group});
  }

 private:
  std::deque<Bytes> payloads_;  // what the entries' texts stand in
  std::vector<Entry> entries_;
  std::map<std::pair<std::uint8_t, std::uint64_t>, std::uint64_t> groups_;  // the last order
  std::uint64_t order_ = 0;
};

}  // namespace millrace::store
