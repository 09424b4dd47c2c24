// WriterPiece: what one write call takes: where the bytes stand, and a scratch for those that have
// to be put together first (headers, small packets, control bytes).
//
// One per I/O thread, used from the filling of a piece to the settling of what was sent, never
// longer: what a socket did not take is kept by the connection's Writer.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

namespace millrace::server {

class WriterPiece {
 public:
  static constexpr std::size_t bytes_max = 256 * 1024;
  static constexpr std::size_t iovecs_max = 256;
  static constexpr std::size_t scratch_bytes = 128 * 1024;

  // Where a delivery of the piece ends, in bytes of the piece, and how many topic aliases the
  // client knows once it has it.
  struct End {
    std::size_t bytes;
    std::uint32_t alias_count;
  };

  WriterPiece() : scratch_(new std::uint8_t[scratch_bytes]), scratch_capacity_(scratch_bytes) {
    iovecs_.reserve(iovecs_max);
  }

  void clear() {
    iovecs_.clear();
    ends_.clear();
    bytes_ = 0;
    scratch_used_ = 0;
  }

  bool empty() const { return bytes_ == 0; }
  std::size_t bytes() const { return bytes_; }
  std::span<const iovec> iovecs() const { return iovecs_; }
  std::vector<End>& ends() { return ends_; }

  bool full() const { return bytes_ >= bytes_max || iovecs_.size() + 2 > iovecs_max; }
  std::size_t scratch_room() const { return scratch_capacity_ - scratch_used_; }

  // Room for `count` bytes that reserve() promised or scratch_room() showed; to be written at once.
  std::uint8_t* append_scratch(std::size_t count) {
    std::uint8_t* at = scratch_.get() + scratch_used_;
    scratch_used_ += count;
    append(at, count);
    return at;
  }
  void copy(std::span<const std::uint8_t> from) {
    if (!from.empty()) std::memcpy(append_scratch(from.size()), from.data(), from.size());
  }
  // Bytes that stay where they are until the piece is settled. Neighbours become one.
  void append(const std::uint8_t* at, std::size_t count) {
    bytes_ += count;
    if (!iovecs_.empty()) {
      iovec& last = iovecs_.back();
      if (static_cast<std::uint8_t*>(last.iov_base) + last.iov_len == at) {
        last.iov_len += count;
        return;
      }
    }
    iovecs_.push_back({const_cast<std::uint8_t*>(at), count});
  }

  // Makes room for one header that is larger than the scratch. Only while the scratch is unused.
  void reserve(std::size_t count) {
    if (count <= scratch_capacity_) return;
    scratch_.reset(new std::uint8_t[count]);
    scratch_capacity_ = count;
  }
  bool scratch_unused() const { return scratch_used_ == 0; }
  bool in_scratch(const void* at) const {
    const auto* byte = static_cast<const std::uint8_t*>(at);
    return byte >= scratch_.get() && byte < scratch_.get() + scratch_used_;
  }

 private:
  std::unique_ptr<std::uint8_t[]> scratch_;
  std::size_t scratch_capacity_;
  std::size_t scratch_used_ = 0;
  std::vector<iovec> iovecs_;
  std::vector<End> ends_;
  std::size_t bytes_ = 0;
};

}  // namespace millrace::server
