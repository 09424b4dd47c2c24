// What stands where in shared memory: the contract between processes, as bytes.
//
// Everything is native little-endian and 8-byte aligned. Each memory opens with a magic number and
// a layout version; whoever maps it checks both first (check_layout). Only what is declared atomic
// here changes after a memory was handed out.
//
//   ring       written by the server alone, sealed before it leaves: header page, then the frames
//   page       one for each attached consumer: its position, and the word it sleeps on
//   publisher ring       a publisher's own ring into the server; its control page is the server's
//   table      the newest value of each topic: cells of fixed size
//
// The frames of a ring are mapped twice in a row, so that no frame is ever split and nothing is
// padded at the wrap: position p lives at p & (data_bytes - 1), and what follows it does too.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace millrace::shm {

inline constexpr std::uint32_t layout_version = 1;
inline constexpr std::size_t page_bytes = 4096;
inline constexpr std::size_t line_bytes = 128;  // a cache line and the one prefetched with it

inline constexpr std::uint64_t ring_magic = 0x31474e495252'4c4dull;
inline constexpr std::uint64_t page_magic = 0x314547415052'4c4dull;
inline constexpr std::uint64_t publisher_ring_magic = 0x31454e414c52'4c4dull;
inline constexpr std::uint64_t control_magic = 0x314c544e4352'4c4dull;
inline constexpr std::uint64_t table_magic = 0x314c42415452'4c4dull;

struct Stamp {
  std::uint64_t magic = 0;
  std::uint32_t version = layout_version;
  std::uint32_t header_bytes = page_bytes;
};

// --- ring ----------------------------------------------------------------------------------------

enum class FrameKind : std::uint8_t {
  message = 0,
  oversize = 1,  // stands for a message over frame_bytes_max: the payload is its size (8 bytes)
};

inline constexpr std::uint8_t frame_retain = 1;  // FrameHeader::flags, with QoS in bits 1 and 2

struct FrameHeader {
  std::uint32_t payload_bytes;
  std::uint16_t topic_bytes;
  FrameKind kind;
  std::uint8_t flags;
  std::uint64_t sequence;
  std::uint64_t time_ns;  // CLOCK_REALTIME, when it was published
  // topic, payload, padding up to 8 bytes
};
static_assert(sizeof(FrameHeader) == 24);

// A header as the three words it is made of. Built of its fields in memory and copied as a whole it
// would stall the store-to-load forwarding: twice the cost of a small frame.
inline void store_header(std::byte* at, const FrameHeader& header) {
  const std::uint64_t sizes = header.payload_bytes | std::uint64_t{header.topic_bytes} << 32 |
                              static_cast<std::uint64_t>(header.kind) << 48 |
                              std::uint64_t{header.flags} << 56;
  std::memcpy(at, &sizes, 8);
  std::memcpy(at + 8, &header.sequence, 8);
  std::memcpy(at + 16, &header.time_ns, 8);
}

inline FrameHeader load_header(const std::byte* at) {
  std::uint64_t sizes;
  FrameHeader header;
  std::memcpy(&sizes, at, 8);
  std::memcpy(&header.sequence, at + 8, 8);
  std::memcpy(&header.time_ns, at + 16, 8);
  header.payload_bytes = static_cast<std::uint32_t>(sizes);
  header.topic_bytes = static_cast<std::uint16_t>(sizes >> 32);
  header.kind = static_cast<FrameKind>(sizes >> 48 & 0xff);
  header.flags = static_cast<std::uint8_t>(sizes >> 56);
  return header;
}

inline constexpr std::uint64_t align_up(std::uint64_t bytes, std::uint64_t to) {
  return (bytes + to - 1) & ~(to - 1);
}

inline constexpr std::uint64_t frame_bytes(std::size_t topic_bytes, std::size_t payload_bytes) {
  return align_up(sizeof(FrameHeader) + topic_bytes + payload_bytes, 8);
}

struct RingHeader {
  Stamp stamp{ring_magic};
  std::uint64_t ring_id = 0;
  std::uint64_t epoch = 0;       // of the server's run
  std::uint64_t data_bytes = 0;  // a power of two, at least a page
  std::uint32_t frame_bytes_max = 0;
  std::uint32_t lossless = 0;
  std::uint32_t light_fences = 0;  // the writer has no fence of its own before it looks who sleeps
  // Frames below `tail` are complete. Stored once for a batch.
  alignas(line_bytes) std::atomic<std::uint64_t> tail{0};
  // The writer may be overwriting anything below intent - data_bytes. Stored before it does so, a
  // block ahead, so that this line changes rarely and stays in every reader's cache.
  alignas(line_bytes) std::atomic<std::uint64_t> intent{0};
  // Where a lapped reader goes on: the first frame that the writer leaves alone for now. The frame
  // found there carries its sequence.
  std::atomic<std::uint64_t> oldest{0};
  // Lossless: frames wait for the gate, so a reader that moved on says so at the control socket.
  alignas(line_bytes) std::atomic<std::uint32_t> overflow_waits{0};
};
static_assert(sizeof(RingHeader) <= page_bytes);

// --- page ----------------------------------------------------------------------------------------

enum class Eviction : std::uint32_t {
  none = 0,
  lease_ended = 1,    // held the gate for longer than its lease
  overflow_full = 2,  // held the gate while the ring's overflow ran full
  bad_position = 3,   // wrote a position outside [last seen, tail]
  ring_closed = 4,    // the server gave the ring up
};
inline constexpr std::size_t eviction_count = 5;

struct PositionPage {
  Stamp stamp{page_magic};
  std::uint64_t consumer_id = 0;
  std::uint64_t epoch = 0;
  // What the consumer has released. It writes, the server and its neighbours read.
  alignas(line_bytes) std::atomic<std::uint64_t> position{0};
  // Frames that were overwritten before it read them, as it counts them itself: for figures alone.
  std::atomic<std::uint64_t> missed{0};
  // Odd: asleep on it. The consumer makes it odd, the server even again as it wakes the sleeper;
  // neighbours, who map the page read-only, only wake.
  alignas(line_bytes) std::atomic<std::uint32_t> sleep_word{0};
  // The server's word to the consumer: an Eviction.
  alignas(line_bytes) std::atomic<std::uint32_t> eviction{0};
};
static_assert(sizeof(PositionPage) <= page_bytes);

// --- publisher ring ----------------------------------------------------------------------------------------

struct PublisherRingHeader {  // the client writes it: untrusted
  Stamp stamp{publisher_ring_magic};
  std::uint64_t data_bytes = 0;
  std::uint32_t frame_bytes_max = 0;
  std::uint32_t reserved = 0;
  alignas(line_bytes) std::atomic<std::uint64_t> tail{0};
};

struct PublisherRingControl {  // the server writes it, the client can only look
  Stamp stamp{control_magic};
  std::uint64_t epoch = 0;
  alignas(line_bytes) std::atomic<std::uint64_t> head{0};  // taken up to here
  std::atomic<std::uint64_t> refused{0};                   // taken, but not allowed or malformed
  alignas(line_bytes) std::atomic<std::uint32_t> sleeping{0};  // odd: ring the wake-up
};
static_assert(sizeof(PublisherRingHeader) <= page_bytes &&
              sizeof(PublisherRingControl) <= page_bytes);

// --- table ---------------------------------------------------------------------------------------

enum class CellState : std::uint8_t {
  empty = 0,
  here = 1,       // topic and value are in the cell
  elsewhere = 2,  // too large for a cell: ask the control socket
  cleared = 3,    // the topic's value was removed
};

struct TableHeader {
  Stamp stamp{table_magic};
  std::uint64_t table_id = 0;
  std::uint64_t epoch = 0;
  std::uint32_t cell_count = 0;  // a power of two
  std::uint32_t cell_bytes = 0;  // a multiple of 128
  std::uint32_t window = 0;      // a topic lives in one of so many cells from its hash on
};
static_assert(sizeof(TableHeader) <= page_bytes);

struct CellHeader {  // read and written word by word
  std::uint64_t hash;
  std::uint64_t generation;  // changes when the cell is given to another topic
  std::uint64_t sequence;
  std::uint64_t time_ns;
  std::uint32_t payload_bytes;
  std::uint16_t topic_bytes;
  CellState state;
  std::uint8_t flags;
};
static_assert(sizeof(CellHeader) == 40);

// FNV-1a: both sides compute it, so it is part of the layout.
inline constexpr std::uint64_t topic_hash(std::string_view topic) {
  std::uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : topic) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return hash;
}

static_assert(std::atomic<std::uint64_t>::is_always_lock_free &&
              std::atomic<std::uint32_t>::is_always_lock_free);

// What is wrong with a memory that another process made, or nullptr.
inline const char* check_layout(const Stamp& stamp, std::uint64_t magic) {
  if (stamp.magic != magic) return "this is not the kind of memory that was promised";
  if (stamp.version != layout_version || stamp.header_bytes != page_bytes) {
    return "the other side speaks another layout version; update the older of the two";
  }
  return nullptr;
}

}  // namespace millrace::shm
