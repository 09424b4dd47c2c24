// What is said at the control socket, as bytes. Pure: no I/O, no clock.
//
// One connection serves one thing: a consumer's ring, a publisher's publisher ring, or a table. The client
// asks first; descriptors travel beside the reply's first byte (SCM_RIGHTS), in the order given
// here.
//
//   client    wake-up      one byte, 0x01: look at my publisher ring, or at my position
//             request   type, version, 0, 0, body length (4 bytes), body
//   server    reply     type, version, number of descriptors (2 bytes), body length (4), body
//
// Numbers are little-endian; a string is its length (2 bytes) and its bytes.
// Thread contract: none of its own. What holds: whatever the bytes, a parser never reads past them
// and never keeps more than its limit; the first fault ends the conversation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/shm/ring/layout.hpp"

namespace millrace::shm {

inline constexpr std::size_t request_bytes_max = 70'000;  // the longest filter, and some
inline constexpr std::size_t reply_bytes_max = std::size_t{256} << 20;  // the largest MQTT payload
inline constexpr std::size_t neighbours_max = 16;
inline constexpr std::size_t name_bytes_max = 64;

enum class Policy : std::uint8_t { lossy = 0, lossless = 1 };

enum class StartAt : std::uint8_t {
  now = 0,     // what comes next
  oldest = 1,  // the oldest frame still in the ring
  latest = 2,  // first the newest value of each matching topic, then what comes next
};

enum class Refusal : std::uint16_t {
  malformed = 1,      // not a request
  other_version = 2,  // built for another layout
  not_allowed = 3,    // the access rules say no
  limit_reached = 4,  // of rings, consumers, publisher rings or bytes
  bad_filter = 5,
  unknown_consumer = 6,  // to stand after somebody who is not there
  name_in_use = 7,
  no_memory = 8,
  shutting_down = 9,
};
const char* describe(Refusal refusal);
const char* describe(Eviction eviction);
const char* name_of(Eviction eviction);  // one word, for metrics

// --- what a client says --------------------------------------------------------------------------

struct WakeUp {};
struct AttachRequest {
  Policy policy = Policy::lossy;
  StartAt start = StartAt::now;
  std::string filter;
  std::string name;                // by which others may stand after this one; may be empty
  std::vector<std::string> after;  // names of consumers of the same ring
};
struct MappedNotice {};  // the position page is mapped: seal it, and show it to the neighbours
struct PublisherRingRequest {
  std::string name;
};
struct TableRequest {
  std::string filter;
};
struct ValueRequest {  // on a table's connection: a value too large for its cell
  std::string topic;
};
using Request = std::variant<WakeUp, AttachRequest, MappedNotice, PublisherRingRequest,
                             TableRequest, ValueRequest>;

// --- what the server says ------------------------------------------------------------------------

struct Attached {  // descriptors: ring, page, snapshot if any, then a page for each predecessor
  std::uint64_t epoch = 0;
  std::uint64_t consumer_id = 0;
  std::uint64_t position = 0;
  std::uint64_t sequence = 0;
  std::uint64_t snapshot_bytes = 0;  // frames in the snapshot memory, from its first byte on
  std::vector<std::uint64_t> predecessors;
};
struct Refused {
  Refusal reason = Refusal::malformed;
  std::string text;
};
struct EvictedNotice {
  Eviction reason = Eviction::none;
};
struct NeighbourCame {  // descriptor: its page
  std::uint64_t consumer_id = 0;
  bool stands_before_you = false;
};
struct NeighbourGone {
  std::uint64_t consumer_id = 0;
};
struct PublisherRingOpened {  // descriptors: publisher ring, control
  std::uint64_t epoch = 0;
};
struct TableOpened {  // descriptor: table
  std::uint64_t epoch = 0;
};
struct ValueReply {
  bool found = false;
  std::uint8_t flags = 0;
  std::uint64_t sequence = 0;
  std::uint64_t time_ns = 0;
  std::string payload;
};
using Reply = std::variant<Attached, Refused, EvictedNotice, NeighbourCame, NeighbourGone,
                           PublisherRingOpened, TableOpened, ValueReply>;

std::string encode(const Request& request);
std::string encode(const Reply& reply, std::size_t descriptor_count);

// Takes bytes as they come, in any pieces.
class RequestParser {
 public:
  void feed(std::span<const std::byte> bytes);
  // The next whole request; nothing when more bytes are needed, or once there was a fault.
  std::optional<Request> next();
  // What was wrong with the bytes, if anything.
  std::optional<Refusal> fault() const { return fault_; }

 private:
  std::optional<Request> fail(Refusal refusal);
  std::string pending_;
  std::optional<Refusal> fault_;
};

class ReplyParser {
 public:
  struct Item {
    Reply reply;
    std::size_t descriptor_count;
  };
  void feed(std::span<const std::byte> bytes);
  std::optional<Item> next();
  bool is_faulty() const { return faulty_; }
  bool is_empty() const { return pending_.empty(); }

 private:
  std::string pending_;
  bool faulty_ = false;
};

}  // namespace millrace::shm
