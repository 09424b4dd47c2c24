// One connection at the control socket, as kept by the loop. For control_loop*.cpp alone.
//
// Thread contract: the loop's thread.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "server/local/control_loop.hpp"

namespace millrace::server {

struct ControlLoop::Client {
  shm::ClientId id;
  shm::UniqueFd socket;
  std::string user;
  shm::RequestParser parser;
  std::deque<shm::Outgoing> outgoing;
  std::size_t sent = 0;  // of the first one
  std::size_t outgoing_bytes = 0;
  std::shared_ptr<shm::ConsumerPage> consumer_page;
  std::unique_ptr<shm::PublisherRingReader> publisher_ring;
  bool has_asked = false;     // a request was passed to the processor
  bool awaits_value = false;  // one at a time: a value may be many times larger than its request
  bool wants_write = false;
  bool is_finished = false;
  // Once its connection has ended: how many turns what it left in its ring may take at most.
  std::optional<std::size_t> rest_turns;
};

}  // namespace millrace::server
