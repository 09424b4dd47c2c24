// A server in one thread, without sockets and with a clock of its own: real connections, the real
// inbox and processor, over pipes in memory. What moves next is the caller's choice alone, so the
// same calls give the same bytes.
//
// Its limits are small, so that a few packets reach them. Nobody may read below `secret/` or
// publish below `read/`.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/broker/inbox.hpp"
#include "core/broker/processor.hpp"
#include "server/auth/worker.hpp"
#include "server/net/io_thread.hpp"
#include "server/net/stream.hpp"
#include "server/upstream/link.hpp"
#include "tests/fuzz/expect.hpp"

namespace millrace::server {

// Both ends of one connection's bytes, and what the "kernel" says.
struct Line {
  std::vector<std::uint8_t> to_server;
  std::vector<std::uint8_t> from_server;
  std::size_t read_max = SIZE_MAX;    // bytes that one read brings
  std::size_t write_room = SIZE_MAX;  // bytes that writes still take
  bool was_short = false;             // of room, at some time
  bool ended = false;                 // the client sends no more
  bool lost = false;                  // reads and writes fail
  bool closed = false;                // by the server

  bool wants_read = false;
  bool posted = false;
  bool wants_write = false;
  StreamUserRef user;  // until it is closed
};

class World {
 public:
  static constexpr std::uint32_t connect_bytes_max = 1024;

  explicit World(OverflowPolicy overflow);
  ~World();

  std::shared_ptr<Line> open();
  // A link of this upstream. Its session ends with finish(), or does not count there.
  std::shared_ptr<Line> open_link(std::shared_ptr<LinkOwner> owner, Link::Setting setting);
  // Until nothing moves any more.
  void run();
  void advance_ms(std::uint32_t ms);
  // Everybody leaves, and their sessions end: nothing may stay behind.
  void finish();

 private:
  bool move(Line& line);
  void forget_upstreams();

  const std::shared_ptr<const Settings> settings_;
  broker::Processor processor_;
  broker::Inbox inbox_;
  const ListenerConfig listener_;
  Worker worker_;
  IoThread thread_;
  std::int64_t ticks_ns_;
  std::vector<std::shared_ptr<Line>> lines_;
  std::vector<std::string> upstream_sessions_;
};

}  // namespace millrace::server
