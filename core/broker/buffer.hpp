// Buffer: a reference-counted block of bytes that many messages may be slices of.
//
// Threads: the count is atomic, so a BufferRef may be copied and dropped on any thread. The bytes
// are written by the one thread that allocated the buffer, before the first message that points
// into them is handed to another thread; from then on they are constant.
//
// A buffer is one allocation: this header, then `capacity` bytes. All of them are counted
// (buffer_bytes.hpp).
#pragma once

#include <atomic>
#include <boost/intrusive_ptr.hpp>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <span>

#include "core/base/malloc_bytes.hpp"
#include "core/broker/buffer_bytes.hpp"
#include "core/broker/check.hpp"

namespace millrace::broker {

class Buffer;
using BufferRef = boost::intrusive_ptr<Buffer>;

class Buffer {
 public:
  // Throws std::bad_alloc.
  static BufferRef allocate(std::uint32_t capacity_bytes) {
    void* memory = std::malloc(sizeof(Buffer) + capacity_bytes);
    if (memory == nullptr) throw std::bad_alloc();
    BufferBytes::add(memory_bytes(capacity_bytes));
    return BufferRef(new (memory) Buffer(capacity_bytes), /*add_ref=*/false);
  }

  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  std::uint8_t* data() { return reinterpret_cast<std::uint8_t*>(this + 1); }
  const std::uint8_t* data() const { return reinterpret_cast<const std::uint8_t*>(this + 1); }
  std::uint32_t capacity() const { return capacity_bytes_; }
  // What a buffer of that capacity takes.
  static constexpr std::uint64_t memory_bytes(std::uint32_t capacity_bytes) {
    return base::malloc_bytes(sizeof(Buffer) + std::uint64_t{capacity_bytes});
  }

  // When the bytes were received (monotonic ns): what latency and message expiry are taken from. A
  // copy keeps it. Set before the first hand-over.
  std::int64_t received_ns = 0;
  // For a buffer that holds one kept packet: whether it is in MQTT 5 form. See message_of().
  bool holds_v5 = false;
  // Which upstream the bytes came from (ConnectRequest::origin); 0: none. A copy keeps it.
  std::uint16_t origin = 0;

  // Several references at once: one atomic operation for all the messages of one read.
  void add_references(std::uint32_t count) {
    const std::uint32_t before = references_.fetch_add(count, std::memory_order_relaxed);
    MILLRACE_CHECK(before > 0 && before + count >= before);  // alive, and no wrap
  }
  // The last of them frees the buffer.
  void drop_references(std::uint32_t count) {
    // Release: what this holder did comes before the free; acquire: the free comes after them all.
    const std::uint32_t before = references_.fetch_sub(count, std::memory_order_acq_rel);
    MILLRACE_CHECK(before >= count);  // no more than there are
    if (before == count) {
      BufferBytes::subtract(memory_bytes(capacity_bytes_));
      this->~Buffer();
      std::free(this);
    }
  }

  // True for the only holder: it may write the bytes again. Acquire pairs with the releases below.
  bool unique() const { return references_.load(std::memory_order_acquire) == 1; }

 private:
  explicit Buffer(std::uint32_t capacity_bytes) : capacity_bytes_(capacity_bytes) {}

  friend void intrusive_ptr_add_ref(Buffer* buffer) { buffer->add_references(1); }
  friend void intrusive_ptr_release(Buffer* buffer) { buffer->drop_references(1); }
  // What a slot asks of a handle (core/latest/handle_slot.hpp).
  friend void slot_add_refs(Buffer* buffer, std::uint32_t count) { buffer->add_references(count); }
  friend void slot_release_refs(Buffer* buffer, std::uint32_t count) {
    buffer->drop_references(count);
  }

  std::atomic<std::uint32_t> references_{1};
  std::uint32_t capacity_bytes_;
};

}  // namespace millrace::broker
