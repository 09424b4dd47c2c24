// Counts the allocations of a test program.
#pragma once

#include <cstddef>

namespace millrace::latest {

/// How many times operator new has been called.
std::size_t allocation_count() noexcept;

}  // namespace millrace::latest
