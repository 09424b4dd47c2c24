// The client library's lookup at a control socket that does what the test says.
#include <gtest/gtest.h>

#include <atomic>
#include <string>

#include "core/shm/include/millrace/local.hpp"
#include "core/shm/ring/slot_table.hpp"
#include "scripted_server.hpp"

namespace millrace::local {
namespace {

using shm::Mapping;
using shm::page_bytes;
using test::ScriptedServer;

TEST(ScriptedLatest, AsksForAValueThatIsBeingWritten) {
  const auto table = shm::TableWriter::make({.cell_count = 1, .cell_bytes = 512, .window = 1});
  ASSERT_TRUE(table);
  const std::string payload = "in the cell";
  table->store("a", std::as_bytes(std::span(payload)), 0, 1);
  // Only its writer can map the table for writing, so the client gets a copy.
  const std::size_t bytes = page_bytes + 512;
  const Mapping original = Mapping::map(table->fd(), bytes, shm::Access::read_only);
  shm::UniqueFd fd = shm::make_memory("test", bytes);
  const Mapping copy = Mapping::map(fd.get(), bytes, shm::Access::read_write);
  ASSERT_TRUE(original && copy);
  std::memcpy(copy.data(), original.data(), bytes);

  ScriptedServer server([&](const shm::Request& request) {
    if (std::holds_alternative<shm::TableRequest>(request)) {
      return ScriptedServer::Answer{shm::TableOpened{1}, {fd.get()}};
    }
    EXPECT_EQ(std::get<shm::ValueRequest>(request).topic, "a");
    return ScriptedServer::Answer{shm::ValueReply{true, 0, 2, 1, "from the server"}, {}};
  });
  Latest latest("#", server.socket());
  Value value;
  ASSERT_TRUE(latest.get("a", value));
  EXPECT_EQ(value.payload, "in the cell");
  // The first word of a cell is its version, which is odd while it is written.
  auto* version = reinterpret_cast<std::uint64_t*>(copy.data() + page_bytes);
  std::atomic_ref<std::uint64_t>(*version).fetch_add(1);
  ASSERT_TRUE(latest.get("a", value));
  EXPECT_EQ(value.payload, "from the server");
}

}  // namespace
}  // namespace millrace::local
