// The layout of shared memory: the contract between processes, as bytes.
//
// Everything is native little-endian and 8-byte aligned. Each memory begins with a magic number and
// a layout version, which a process checks after mapping it and before anything else
// (check_layout). After a memory was handed out, only the fields declared atomic here, frames and
// cells change.
//
//   ring            written by the server alone: a header page, then the frames
//   position page   one for each attached consumer: its position, and the word it sleeps on
//   publisher ring  a publisher's own ring towards the server, with a control page that only the
//                   server writes
//   table           the newest value of each topic, in cells of fixed size
//
// The frames of a ring are mapped twice in a row, so that a frame is contiguous even where the ring
// wraps: position p is at offset p & (data_bytes - 1). For that they begin at a multiple of the
// system's page size, which Stamp::header_bytes tells; everything else begins at page_bytes.
//
// Thread contract: the structs are bytes in shared memory; the writer of each word and its memory
// order are stated at the functions that access it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace millrace::shm {

inline constexpr std::uint32_t layout_version = 2;
inline constexpr std::size_t page_bytes = 4096;  // of a position page, and of most headers
inline constexpr std::size_t ring_header_bytes_max = 64 * 1024;  // the largest pages of a system
inline constexpr std::size_t line_bytes = 128;  // a cache line and the one prefetched with it

inline constexpr std::uint64_t ring_magic = 0x31474e495252'4c4dull;
inline constexpr std::uint64_t page_magic = 0x314547415052'4c4dull;
inline constexpr std::uint64_t publisher_ring_magic = 0x314255505252'4c4dull;
inline constexpr std::uint64_t control_magic = 0x314c544e4352'4c4dull;
inline constexpr std::uint64_t table_magic = 0x314c42415452'4c4dull;

struct Stamp {
  std::uint64_t magic = 0;
  std::uint32_t version = layout_version;
  std::uint32_t header_bytes = page_bytes;  // what follows the header begins there
};

// --- ring ----------------------------------------------------------------------------------------

enum class FrameKind : std::uint8_t {
  message = 0,
  oversize = 1,  // replaces a message over frame_bytes_max: the payload is its size (8 bytes)
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

// A frame's header is stored and loaded as its three words. (Assembled field by field in memory and
// then copied, it would stall store-to-load forwarding: twice the cost of a small frame.) The words
// are relaxed atomics, as the other process may write them at the same time: so each is loaded
// once, and the fences around them (RingWriter::advance_intent, RingReader::is_intact) order them.
// `at` is 8-byte aligned, as every frame is.
inline std::atomic_ref<std::uint64_t> header_word(const std::byte* at, std::size_t index) {
  auto* words = reinterpret_cast<std::uint64_t*>(const_cast<std::byte*>(at));
  return std::atomic_ref<std::uint64_t>(words[index]);
}

inline void store_header(std::byte* at, const FrameHeader& header) {
  const std::uint64_t sizes = header.payload_bytes | std::uint64_t{header.topic_bytes} << 32 |
                              static_cast<std::uint64_t>(header.kind) << 48 |
                              std::uint64_t{header.flags} << 56;
  header_word(at, 0).store(sizes, std::memory_order_relaxed);
  header_word(at, 1).store(header.sequence, std::memory_order_relaxed);
  header_word(at, 2).store(header.time_ns, std::memory_order_relaxed);
}

inline FrameHeader load_header(const std::byte* at) {
  FrameHeader header;
  const std::uint64_t sizes = header_word(at, 0).load(std::memory_order_relaxed);
  header.sequence = header_word(at, 1).load(std::memory_order_relaxed);
  header.time_ns = header_word(at, 2).load(std::memory_order_relaxed);
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
  std::uint32_t light_fences = 0;  // 1: a reader that is about to sleep must call heavy_fence()
  // Frames below `tail` are complete. Stored once a batch.
  alignas(line_bytes) std::atomic<std::uint64_t> tail{0};
  // The writer may be overwriting anything below intent - data_bytes. Stored before it does so, for
  // a whole block at a time, so that this cache line changes rarely and stays with the readers.
  alignas(line_bytes) std::atomic<std::uint64_t> intent{0};
  // Where a lapped reader continues: the first frame that is not about to be overwritten. The
  // header of that frame holds its sequence.
  std::atomic<std::uint64_t> oldest{0};
  // Lossless: frames wait in the overflow for the slowest reader; a reader that has moved on then
  // sends a wake-up to the control socket.
  alignas(line_bytes) std::atomic<std::uint32_t> overflow_waits{0};
};
static_assert(sizeof(RingHeader) <= page_bytes);

// --- position page -------------------------------------------------------------------------------

enum class Eviction : std::uint32_t {
  none = 0,
  lease_ended = 1,    // was the slowest reader, without progress, for longer than its lease
  overflow_full = 2,  // was the slowest reader when the ring's overflow was full
  bad_position = 3,   // wrote a position outside [last seen, tail]
  ring_closed = 4,    // the server closed the ring
};
inline constexpr std::size_t eviction_count = 5;

struct PositionPage {
  Stamp stamp{page_magic};
  std::uint64_t consumer_id = 0;
  std::uint64_t epoch = 0;
  // The consumer has released everything below it. Written by the consumer; read by the server and
  // by the neighbours (the consumers before and after it).
  alignas(line_bytes) std::atomic<std::uint64_t> position{0};
  // Frames that were overwritten before the consumer read them, by its own count: for metrics only.
  std::atomic<std::uint64_t> missed{0};
  // A futex; odd: the consumer sleeps on it, or is about to. The consumer makes it odd, the server
  // makes it even when it wakes the consumer. Neighbours map the page read-only: they can wake the
  // consumer and take its wake-ups away (so it sleeps for a bounded time), but cannot change the
  // word.
  alignas(line_bytes) std::atomic<std::uint32_t> sleep_word{0};
  // An Eviction, written by the server.
  alignas(line_bytes) std::atomic<std::uint32_t> eviction{0};
};
static_assert(sizeof(PositionPage) <= page_bytes);

// --- publisher ring ------------------------------------------------------------------------------

struct PublisherRingHeader {  // written by the client: untrusted
  Stamp stamp{publisher_ring_magic};
  std::uint64_t data_bytes = 0;
  std::uint32_t frame_bytes_max = 0;
  std::uint32_t reserved = 0;
  alignas(line_bytes) std::atomic<std::uint64_t> tail{0};
};

struct PublisherRingControl {  // written by the server; the client maps it read-only
  Stamp stamp{control_magic};
  std::uint64_t epoch = 0;
  alignas(line_bytes) std::atomic<std::uint64_t> head{0};  // the server has taken frames below it
  std::atomic<std::uint64_t> refused{0};  // messages taken, but not allowed or malformed
  alignas(line_bytes) std::atomic<std::uint32_t> sleeping{
      0};  // odd: send a wake-up after publishing
};
static_assert(sizeof(PublisherRingHeader) <= page_bytes &&
              sizeof(PublisherRingControl) <= page_bytes);

// --- table ---------------------------------------------------------------------------------------

enum class CellState : std::uint8_t {
  empty = 0,
  here = 1,       // topic and value are in the cell
  elsewhere = 2,  // too large for a cell: to be requested at the control socket
  cleared = 3,    // the topic's value was removed
};

struct TableHeader {
  Stamp stamp{table_magic};
  std::uint64_t table_id = 0;
  std::uint64_t epoch = 0;
  std::uint32_t cell_count = 0;  // a power of two
  std::uint32_t cell_bytes = 0;  // a multiple of 128
  std::uint32_t window = 0;      // a topic is in one of so many cells, from the cell of its hash on
};
static_assert(sizeof(TableHeader) <= page_bytes);

struct CellHeader {  // stored and loaded word by word
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

// FNV-1a. Both sides compute it, so it is part of the layout.
inline constexpr std::uint64_t topic_hash(std::string_view topic) {
  std::uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : topic) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return hash;
}

static_assert(std::atomic<std::uint64_t>::is_always_lock_free &&
              std::atomic<std::uint32_t>::is_always_lock_free);

// Why the memory that the other side handed over cannot be used, or nullptr.
inline const char* check_layout(const Stamp& stamp, std::uint64_t magic,
                                std::size_t header_bytes_max = page_bytes) {
  if (stamp.magic != magic)
    return "the memory that was handed over is of another kind than expected";
  if (stamp.version != layout_version || stamp.header_bytes < page_bytes ||
      stamp.header_bytes > header_bytes_max) {
    return "server and client library use different layout versions: update the older one";
  }
  return nullptr;
}

}  // namespace millrace::shm
