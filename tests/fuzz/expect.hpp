// What a fuzz target says must hold.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace millrace {

// Ends the program when it does not hold: what a fuzzer waits for.
inline void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

}  // namespace millrace
