// CommitLog: what the processor sees of the store. It appends a batch of records; later it is told,
// by a command of its own, up to which batch all is on the disk.
//
// Threads: the processor's holder.
#pragma once

#include <cstdint>

#include "core/store/format.hpp"

namespace millrace::store {

class CommitLog {
 public:
  virtual ~CommitLog() = default;

  // Takes the records, and leaves `batch` empty. Returns its number: they rise by one.
  virtual std::uint64_t append(Batch& batch) = 0;
  // Whether acknowledgements wait until their batch is on the disk. May change at any time.
  virtual bool acknowledgements_wait() const = 0;
  // So much waits for the disk that work which is not urgent is to be put off.
  virtual bool is_behind() const { return false; }
  // Nothing that is appended will be on the disk any more.
  virtual bool failed() const = 0;
};

}  // namespace millrace::store
