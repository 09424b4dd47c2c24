// A random life of a log, and what must be found in it afterwards.
#pragma once

#include <map>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "core/store/log.hpp"

namespace millrace::store {

// By space, group and rest; what a model of the store holds.
using State =
    std::map<std::tuple<int, std::uint64_t, std::string>, std::pair<std::string, std::uint64_t>>;

inline void take_in(State& state, const Record& record) {
  const auto key =
      std::tuple(int{record.key.space}, record.key.group, std::string(record.key.rest));
  switch (record.kind) {
    case RecordKind::put:
      state[key] = {std::string(record.value), record.body};
      break;
    case RecordKind::erase:
      state.erase(key);
      break;
    case RecordKind::erase_group:
      std::erase_if(state, [&](const auto& one) {
        return std::get<0>(one.first) == record.key.space &&
               std::get<1>(one.first) == record.key.group;
      });
  }
}

inline void take_in(State& state, BytesView records) {
  RecordReader reader(records);
  Record record;
  while (reader.next(record)) take_in(state, record);
}

// Without the bodies that nothing names, which may be there or not.
inline State without_dead_bodies(State state) {
  std::set<std::uint64_t> named;
  for (const auto& [key, value] : state) {
    if (value.second != 0) named.insert(value.second);
  }
  std::erase_if(state, [&](const auto& one) {
    return std::get<0>(one.first) == body_space && !named.contains(std::get<1>(one.first));
  });
  return state;
}

struct Found {
  State state;
  Recovery recovery;
};
inline Found open_and_read(Log& log, Log::Mode mode = Log::Mode::use) {
  Found found;
  found.recovery = log.open([&](const Record& record) { take_in(found.state, record); }, mode);
  return found;
}

// Batches that name few keys again and again.
class RandomBatches {
 public:
  explicit RandomBatches(std::uint64_t seed) : random_(seed) {}

  Batch next() {
    Batch batch;
    for (std::size_t i = 1 + random_() % 5; i > 0; --i) add_record(batch);
    return batch;
  }

 private:
  void add_record(Batch& batch) {
    const std::uint64_t group = 1 + random_() % 4;
    const std::string rest = "k" + std::to_string(random_() % 6);
    const std::string value(random_() % 90, static_cast<char>('a' + random_() % 26));
    switch (random_() % 8) {
      case 0:
        return batch.erase_group(2, group);
      case 1:
      case 2:
        return batch.erase({2, group, rest});
      case 3:
        return batch.put({3, 0, rest}, value);
      case 4:
        batch.put({body_space, ++body_, ""}, value);
        return batch.put({2, group, rest}, "names it", body_);
      default:
        return batch.put({2, group, rest}, value);
    }
  }

  std::mt19937_64 random_;
  std::uint64_t body_ = 0;
};

}  // namespace millrace::store
