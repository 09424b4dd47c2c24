// A copy of a store's folder, which may be made while a server writes there: it has every batch up
// to some moment, and none of a later one.
//
// Threads: any; it shares nothing with the store but the files.
#pragma once

#include <cstdint>
#include <string>

#include "core/store/log.hpp"

namespace millrace::store {

struct BackUp {
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
};

// `to` is made, or is empty. It is on the disk by the end. Throws StoreError, and leaves nothing in
// `to` then but its lock; what is cut off (a kill) leaves files that are no store.
BackUp back_up(const std::string& from, const std::string& to);

}  // namespace millrace::store
