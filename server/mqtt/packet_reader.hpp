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
#include "core/broker/message.hpp"
#include "protocol/frame.hpp"
#include "protocol/publish.hpp"
#include "server/net/read_memory.hpp"
#include "server/net/stream.hpp"

namespace millrace::server {

// The bytes of one read while its packets are handled, and the buffer that its messages are slices
// of. It lives on the stack.
class ReceivedBytes {
 public:
  bool empty() const { return bytes_.empty(); }
  // The budget of unauthenticated peers, or all memory, is used up: the rest of this packet cannot
  // be read.
  bool is_over_budget() const { return is_over_budget_; }
  // What is not taken yet.
  std::span<const std::uint8_t> rest() const { return bytes_.subspan(at_); }

  // The packet at the front; nullopt: it is not whole. `packet_bytes_max`, `version`: see frame().
  protocol::Result<std::optional<protocol::Frame>> next(std::size_t packet_bytes_max,
                                                        protocol::Version version) const {
    return protocol::frame(rest(), packet_bytes_max, version);
  }
  void take(std::uint32_t packet_bytes) { at_ += packet_bytes; }

  // A message that is a slice: the packet at the front, which `view` was decoded from.
  broker::Message slice(std::uint32_t packet_bytes, const protocol::PublishView& view,
                        protocol::Version version) {
    if (slices_ == 0) prepare_holder(version);
    ++slices_;
    slice_bytes_ += packet_bytes;
    return broker::make_message(broker::BufferRef(holder_, /*add_ref=*/false),
                                static_cast<std::uint32_t>(at_), packet_bytes, view, version);
  }

  bool has_slices() const { return slices_ > 0; }
  // slice() makes messages without counting their references to the holder. This counts them, with
  // one atomic operation: to be called once, after the last slice and before any is dropped.
  void pay_references() { holder_->add_references(slices_); }
  const broker::Buffer* holder() const { return holder_; }
  // The slices are of the thread's shared buffer, which must be handed over to them, or copied from
  // and used again. Else they are of a buffer of this read's own.
  bool is_shared() const { return own_ == nullptr; }
  // The slices take so much of it that copies would cost more than another buffer.
  bool is_worth_handing_over() const { return slice_bytes_ >= holder_->capacity() / 4; }
  // Of the holder, what the slices would keep in memory without using it.
  std::uint32_t unused_bytes() const { return holder_->capacity() - slice_bytes_; }

 private:
  friend class PacketReader;
  void prepare_holder(protocol::Version version);

  std::span<std::uint8_t> bytes_;
  std::size_t at_ = 0;
  broker::Buffer* holder_ = nullptr;  // null: to be made, of the bytes' own size
  std::uint32_t slices_ = 0;
  std::uint32_t slice_bytes_ = 0;
  broker::BufferRef own_;
  std::uint16_t origin_ = 0;  // the reader's
  bool is_over_budget_ = false;
};

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
