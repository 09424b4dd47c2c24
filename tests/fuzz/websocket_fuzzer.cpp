// The fuzz target of protocol/websocket.hpp: frames from a stranger, in pieces, read as a server and
// as a client.
//
// The first byte of an input seeds where the rest is cut. What must hold, beside the absence of
// crashes: cut or whole, the same payload comes out, the same answer to the last ping, and the same
// end.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "protocol/websocket.hpp"

namespace websocket = millrace::protocol::websocket;

namespace {

using Input = std::span<const std::uint8_t>;

struct Outcome {
  std::vector<std::uint8_t> payload;
  std::string last_answer;
  bool over = false;
  std::optional<websocket::CloseCode> fault;

  bool operator==(const Outcome&) const = default;
};

void take(websocket::FrameReader& reader, Input piece, Outcome& outcome) {
  std::vector<std::uint8_t> bytes(piece.begin(), piece.end());
  bytes.resize(reader.unframe(bytes));
  outcome.payload.insert(outcome.payload.end(), bytes.begin(), bytes.end());
  if (std::string answer = reader.take_answer(); !answer.empty()) {
    outcome.last_answer = std::move(answer);
  }
  outcome.over = reader.over();
  outcome.fault = reader.fault();
}

Outcome in_pieces(Input input, std::uint32_t seed, websocket::Role role) {
  websocket::FrameReader reader(role);
  Outcome outcome;
  while (!input.empty()) {
    seed = seed * 1'664'525 + 1'013'904'223;  // Numerical Recipes' generator
    const std::size_t count = std::min<std::size_t>(input.size(), 1 + (seed >> 16) % 17);
    take(reader, input.first(count), outcome);
    input = input.subspan(count);
  }
  return outcome;
}

Outcome at_once(Input input, websocket::Role role) {
  websocket::FrameReader reader(role);
  Outcome outcome;
  take(reader, input, outcome);
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t count) {
  if (count == 0) return 0;
  const Input frames(data + 1, count - 1);
  for (const auto role : {websocket::Role::server, websocket::Role::client}) {
    if (at_once(frames, role) == in_pieces(frames, data[0], role)) continue;
    std::fprintf(stderr, "does not hold: pieces mean what the whole means\n");
    std::abort();
  }
  return 0;
}
