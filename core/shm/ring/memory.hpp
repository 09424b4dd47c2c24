// Anonymous memory shared by two processes (memfd): descriptors, mappings, seals.
//
// Thread contract: plain values; each belongs to one thread at a time.
// Invariants: nothing has a name in the file system, so a crash leaves nothing behind; a mapping is
// never larger than its memory, since every memory is sealed against shrinking before its
// descriptor leaves the server.
// Source: memfd_create(2), fcntl(2) F_ADD_SEALS. A read-only descriptor alone does not prevent
// writing, since any process of the same user can reopen it for writing through /proc/self/fd; the
// seal FUTURE_WRITE does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "core/base/unique_fd.hpp"

namespace millrace::shm {

using base::UniqueFd;

// A pipe whose ends do not block. Unlike with an eventfd, the flags of one end cannot be changed
// through the other.
struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};
Pipe make_pipe();  // empty when the system refuses

enum class Access { read_only, read_write };

class Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(base_, other.base_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Mapping();

  // The first `bytes` of the memory; empty when the system refuses, or the memory is shorter. Pages
  // are allocated and mapped as they are first touched, not here: for a ring of 64 MiB that took
  // the processor 44 ms and a reader 8 ms (MAP_POPULATE); now it is 2.4 us a page in the first lap.
  static Mapping map(int fd, std::size_t bytes, Access access);

  // A header, and after it `data_bytes` mapped twice in a row. Both are multiples of the system's
  // page size, or the result is empty.
  static Mapping map_ring(int fd, std::size_t header_bytes, std::size_t data_bytes, Access access);

  explicit operator bool() const { return base_ != nullptr; }
  std::byte* data() const { return base_; }
  std::size_t size() const { return bytes_; }

  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(base_);
  }

 private:
  Mapping(std::byte* base, std::size_t bytes) : base_(base), bytes_(bytes) {}
  std::byte* base_ = nullptr;
  std::size_t bytes_ = 0;
};

// The size of the system's pages, of which the offset of a mapping is a multiple: 4 KiB, and on ARM
// also 16 or 64 KiB.
std::size_t system_page_bytes();

// The size of the header that map_ring() takes, on a system with pages of this size.
std::size_t ring_header_bytes(std::size_t system_page);

// A new memory of zeros to which seals can be added; empty when the system refuses.
UniqueFd make_memory(const char* label, std::size_t bytes);

// Seals against new writable mappings, changes of size and further seals. The server does this to
// every memory that only it writes, after mapping it and before the descriptor leaves.
bool seal_for_readers(int fd);

// Seals against changes of size; both sides may write. With `final`, also against further seals.
bool seal_size(int fd, bool final);

// The size according to the system.
std::optional<std::uint64_t> memory_bytes(int fd);

// Does this kernel know the seal FUTURE_WRITE (Linux 5.1)? Without it no memory can be handed out.
bool system_can_seal();

}  // namespace millrace::shm
