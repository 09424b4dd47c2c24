// The messages at the control socket, as bytes. Pure: no I/O, no clock.
//
// One connection serves one purpose: a consumer of a ring, a publisher, or a user of a table. The
// client sends the first request. Descriptors are sent with the first byte of a reply (SCM_RIGHTS),
// in the order given here.
//
//   client    wake-up   one byte, 0x01: look at my publisher ring, or at my position
//             request   type, version, 0, 0, body length (4 bytes), body
//   server    reply     type, version, number of descriptors (2 bytes), body length (4), body
//
// Numbers are little-endian; a string is its length (2 bytes) and its bytes.
//
// Thread contract: any thread; each parser belongs to one thread at a time.
// Invariants: whatever the bytes, a parser never reads past them and never keeps more than its
// limit. After the first fault it returns nothing more.
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

inline constexpr std::size_t request_bytes_max = 70'000;  // the longest filter, and names
inline constexpr std::size_t filters_max = 64;            // of one reader
inline constexpr std::size_t reply_bytes_max = std::size_t{256} << 20;  // the largest MQTT payload
inline constexpr std::size_t neighbours_max = 16;
inline constexpr std::size_t name_bytes_max = 64;

// lossy: the writer never waits for a reader. lossless: it keeps what is unread, within limits.
enum class Policy : std::uint8_t { lossy = 0, lossless = 1 };

enum class StartAt : std::uint8_t {
  now = 0,     // the next frame that is published
  oldest = 1,  // the oldest frame still in the ring
  latest = 2,  // first the newest value of each matching topic, then the next frame
};

enum class Refusal : std::uint16_t {
  malformed = 1,      // not a request, or not one that is allowed at this point
  other_version = 2,  // the client has another layout version
  not_allowed = 3,    // by local.allow or by the access rules
  limit_reached = 4,  // the text says which
  bad_filter = 5,
  unknown_consumer = 6,  // named as a predecessor
  name_in_use = 7,
  no_memory = 8,
  shutting_down = 9,
};
const char* describe(Refusal refusal);
const char* describe(Eviction eviction);
const char* name_of(Eviction eviction);  // a label of metrics

// --- requests ------------------------------------------------------------------------------------

struct WakeUp {};
struct AttachRequest {
  Policy policy = Policy::lossy;
  StartAt start = StartAt::now;
  bool wants_wake_pipe = false;      // it waits in a poll loop, not on its sleep word
  std::vector<std::string> filters;  // a message that matches any of them is in the ring, once
  std::string name;                  // by which others may name it as a predecessor; may be empty
  std::vector<std::string> after;    // its predecessors: names of consumers of the same ring
};
struct MappedNotice {};  // the position page is mapped: it may be sealed and sent to the neighbours
struct PublisherRingRequest {
  std::string name;
};
struct TableRequest {
  std::string filter;
};
struct ValueRequest {  // on a table's connection, for a value too large for its cell
  std::string topic;
};
using Request = std::variant<WakeUp, AttachRequest, MappedNotice, PublisherRingRequest,
                             TableRequest, ValueRequest>;

// --- replies -------------------------------------------------------------------------------------

// Descriptors: ring, page, wake pipe if requested, snapshot if there is one, the pages of the
// predecessors.
struct Attached {
  std::uint64_t epoch = 0;
  std::uint64_t consumer_id = 0;
  std::uint64_t position = 0;
  std::uint64_t sequence = 0;
  std::uint64_t snapshot_bytes = 0;  // frames in the snapshot, from its first byte on
  bool has_wake_pipe = false;
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
  bool is_predecessor = false;  // of the consumer that is told; else it is a follower
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

// Parses the bytes of a connection, which may be fed in pieces of any size.
class RequestParser {
 public:
  void feed(std::span<const std::byte> bytes);
  // The next whole request; nothing when more bytes are needed, or once there was a fault.
  std::optional<Request> next();
  // What was wrong with the bytes; nullopt as long as they are valid.
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

 private:
  std::string pending_;
  bool faulty_ = false;
};

}  // namespace millrace::shm
