#include "core/store/tail.hpp"

#include <algorithm>

namespace millrace::store {

bool Tail::add(BytesView payload) {
  Record record;
  RecordReader check(payload);
  while (check.next(record)) {
  }
  if (check.malformed()) return false;
  payloads_.emplace_back(payload.begin(), payload.end());
  RecordReader reader(payloads_.back());
  while (reader.next(record)) {
    ++order_;
    if (record.kind == RecordKind::erase_group) {
      groups_[{record.key.space, record.key.group}] = order_;
    } else {
      entries_.push_back(
          {record.key, order_, record.value, record.body, record.kind == RecordKind::erase});
    }
  }
  return true;
}

void Tail::sort() {
  std::sort(entries_.begin(), entries_.end(), [](const Entry& left, const Entry& right) {
    return left.key != right.key ? left.key < right.key : left.order < right.order;
  });
  std::size_t kept = 0;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    if (i + 1 < entries_.size() && entries_[i + 1].key == entry.key) continue;
    const auto group = groups_.find({entry.key.space, entry.key.group});
    if (group != groups_.end() && group->second > entry.order) continue;
    entries_[kept++] = entry;
  }
  entries_.resize(kept);
}

}  // namespace millrace::store
