// A value and the number under which it was stored.
//
// Versions of one slot rise by one with every store, so the difference of two versions tells a
// reader how many values it never saw.
#pragma once

#include <cstdint>

namespace millrace::latest {

using Version = std::uint64_t;

template <typename T>
struct Versioned {
  T value;
  Version version;

  friend bool operator==(const Versioned&, const Versioned&) = default;
};

}  // namespace millrace::latest
