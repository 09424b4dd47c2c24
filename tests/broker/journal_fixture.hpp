// The fixture of tests of the journal: a processor with a store, whose process is killed and starts
// again.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "core/broker/journal.hpp"
#include "tests/broker/world.hpp"

namespace millrace::broker {

inline constexpr std::uint32_t hour_s = 3600;
inline constexpr std::int64_t second_ns = 1'000'000'000;

class JournalTest : public testing::Test {
 protected:
  JournalTest() { world.open_store(); }

  Peer& durable(const std::string& name, std::uint32_t expiry_s = hour_s) {
    return world.peer(name, protocol::Version::v5).connect(false, expiry_s);
  }
  Peer& writer() { return world.peer("writer").connect(); }

  World world;
};

}  // namespace millrace::broker
