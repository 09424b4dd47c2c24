// Counts the allocations of a test program, and makes them fail.
#pragma once

#include <cstddef>

namespace millrace::latest {

/// How many times operator new has been called.
std::size_t allocation_count() noexcept;

/// While it exists, this thread has memory for so many more allocations; then operator new throws.
class OutOfMemory {
 public:
  explicit OutOfMemory(int allocations_left = 0) noexcept;
  OutOfMemory(const OutOfMemory&) = delete;
  OutOfMemory& operator=(const OutOfMemory&) = delete;
  ~OutOfMemory();
};

}  // namespace millrace::latest
