// [1] frame: PacketReader, what a connection receives, as whole packets.
//
// Bytes arrive in the thread's buffer (ReceiveBuffers), which all its connections share, so that an
// idle connection holds none. The messages [3] of a read that fills a quarter of it or more are
// slices of that buffer; a smaller read is first copied to a buffer of its own size, so that its
// messages pin no more than it. The head of a packet whose end has not come is kept here; a packet
// that is too large for the shared buffer is read straight into one of its own.
//
//     ReceivedBytes received;
//     reader.receive(stream, received);        // one read
//     auto frame = received.next(...);         // a fault, or no whole packet, or the one in front
//     received.take((*frame)->packet_bytes);   // takes it: repeat
//     reader.keep(received, ...);              // what is left of the read
//
// Connection::on_received (connection_read.cpp) is that loop, and calls handle_publish [2].
//
// Always: a reader holds a small multiple of what was sent, and 64 KiB at most besides; before
// authentication at most 4 KiB or twice what was sent, whichever is more, and buffers of more than
// 4 KiB, of all such readers of a thread, are within UnauthenticatedBudget.
//
// Threads: the connection's I/O thread.
#pragma once

#include <cstdint>

#include "core/broker/buffer.hpp"
#include "core/broker/ledger.hpp"
#include "server/mqtt/received_bytes.hpp"
#include "server/net/read_memory.hpp"
#include "server/net/stream.hpp"

namespace millrace::server {

class PacketReader {
 public:
  enum class Trust : std::uint8_t { unauthenticated, client };
  // What is kept of a read whose packets could not all be handled.
  enum class Rest : std::uint8_t {
    partial,  // the head of a packet
    held,     // whole packets that must wait, and perhaps the head of one: see take_held()
  };

  // `origin`: of all that is received; see broker::ConnectRequest.
  explicit PacketReader(ReadMemory& memory, std::uint16_t origin = 0)
      : memory_(memory), origin_(origin) {}
  ~PacketReader() { forget(); }
  PacketReader(const PacketReader&) = delete;
  PacketReader& operator=(const PacketReader&) = delete;

  // One read. With `ok`, `received` may still be empty: a large packet is not whole yet.
  IoResult receive(Stream& stream, ReceivedBytes& received);

  // Keeps what was not taken. `packet_bytes`: of the partial packet at the front, if its header was
  // whole; 0: not known. False: the budget of unauthenticated peers, or all memory, is used up.
  [[nodiscard]] bool keep(const ReceivedBytes& received, Rest rest, Trust trust,
                          std::uint32_t packet_bytes);

  // What is kept now.
  std::uint32_t kept_bytes() const { return buffer_ ? buffer_->capacity() : 0; }
  bool has_held() const { return held_; }
  // What was kept as Rest::held: to be handled before the next read.
  void take_held(ReceivedBytes& received);

  // The shared buffer was handed over to the messages of the last read.
  void hand_over() { memory_.buffers.hand_over(); }
  void forget();

 private:
  IoResult receive_into_own(Stream& stream, ReceivedBytes& received);
  IoResult receive_into_shared(Stream& stream, ReceivedBytes& received);
  bool charge(std::uint32_t bytes, Trust trust);

  ReadMemory& memory_;
  broker::BufferRef buffer_;  // null: nothing is kept
  std::uint32_t bytes_ = 0;   // in it
  // Of a packet that is read straight into `buffer_`; 0: `bytes_` are all there is, and go in front
  // of the next read.
  std::uint32_t packet_bytes_ = 0;
  std::uint32_t charged_bytes_ = 0;  // to the budget
  const std::uint16_t origin_;
  Trust trust_ = Trust::unauthenticated;  // with which `buffer_` was kept
  bool held_ = false;
};

}  // namespace millrace::server
