// One connection at the door, as the loop keeps it. For door_loop*.cpp alone.
//
// Thread contract: the loop's thread.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "core/shm/door_loop.hpp"

namespace millrace::shm {

struct DoorLoop::Client {
  ClientId id;
  UniqueFd socket;
  std::string user;
  RequestParser parser;
  std::deque<Outgoing> outgoing;
  std::size_t sent = 0;  // of the first one
  std::size_t outgoing_bytes = 0;
  std::shared_ptr<Seat> seat;
  std::unique_ptr<LaneReader> lane;
  bool has_asked = false;     // the processor knows of it
  bool awaits_value = false;  // which may be many times larger than the request
  bool wants_write = false;
  bool is_finished = false;
};

}  // namespace millrace::shm
