// What is alive: the records of a snapshot as the tail of the log changes them, in the order of keys.
//
// Threads: one.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "core/store/files.hpp"
#include "core/store/tail.hpp"

namespace millrace::store {

struct Damage {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

// Calls visit(Record) with each; `damaged` with what of the snapshot cannot be read. `snapshot`
// empty: there is none. A snapshot without its last batch is damaged up to its end. Ends early, with
// operation_canceled, when `stops` becomes true.
std::error_code merge(Files& files, const std::string& snapshot, const Tail& tail,
                      const std::function<void(const Record&)>& visit,
                      const std::function<void(const Damage&)>& damaged,
                      const std::atomic<bool>& stops);

}  // namespace millrace::store
