// A value and the version under which it was stored.
//
// The version of a slot increases by one with each store, so from the difference of two versions a
// reader knows how many values it did not see.
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
