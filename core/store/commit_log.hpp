// CommitLog: what the processor sees of the store. It appends a batch of records; later it is told,
// by a command of its own, up to which batch all is on the disk.
//
// Threads: the processor's holder.
#pragma once

#include <cstdint>

#include "core/store/format.hpp"

namespace millrace::store {

// Why nothing can be written now.
enum class Trouble : std::uint8_t {
  none,
  no_space,  // there is no room for it: it goes on by itself when there is
  broken     // the disk fails; after a flush that failed, until the process is started again
};

class CommitLog {
 public:
  virtual ~CommitLog() = default;

  // Takes the records, and leaves `batch` empty. Returns its number: they rise by one. Unless an
  // answer waits for it (`awaited`), it may be written a little later, with what comes next.
  virtual std::uint64_t append(Batch& batch, bool awaited) = 0;
  // An answer waits for what was appended.
  virtual void expect() = 0;
  // Whether acknowledgements wait until their batch is on the disk. May change at any time.
  virtual bool acknowledgements_wait() const = 0;
  // So much waits for the disk that work which is not urgent is to be put off.
  virtual bool is_behind() const { return false; }
  // Blocks until it is not; or the disk fails, and so it may be for ever.
  virtual void wait_while_behind() const {}
  virtual Trouble trouble() const { return Trouble::none; }
  // Nothing that is appended will be on the disk any more.
  virtual bool failed() const = 0;
};

}  // namespace millrace::store
