// The bytes of one read while its packets are handled, and the buffer that its messages [3] are
// slices of: the thread's own, or, for a small read, a copy of its size. It lives on the stack.
//
// Always: the holder is made before the first slice of it; the references of all slices are counted
// at once (pay_references) before any of them is dropped.
//
// Threads: the connection's I/O thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "core/broker/buffer.hpp"
#include "core/broker/message.hpp"
#include "protocol/frame.hpp"
#include "protocol/publish.hpp"

namespace millrace::server {

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
  // The slices take a quarter of the buffer or more: copying them costs more than another buffer.
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

}  // namespace millrace::server
