#include "core/shm/ring/memory.hpp"

#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "core/shm/ring/layout.hpp"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace millrace::shm {
namespace {

int protection(Access access) {
  return access == Access::read_only ? PROT_READ : PROT_READ | PROT_WRITE;
}

bool long_enough(int fd, std::size_t bytes) {
  const auto size = memory_bytes(fd);
  return size && *size >= bytes;
}

}  // namespace

Mapping::~Mapping() {
  if (base_) ::munmap(base_, bytes_);
}

Mapping Mapping::map(int fd, std::size_t bytes, Access access) {
  if (bytes == 0 || !long_enough(fd, bytes)) return {};
  void* base = ::mmap(nullptr, bytes, protection(access), MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) return {};
  return {static_cast<std::byte*>(base), bytes};
}

Mapping Mapping::map_ring(int fd, std::size_t header_bytes, std::size_t data_bytes, Access access) {
  const std::size_t once_bytes = header_bytes + data_bytes;
  if (data_bytes == 0 || !long_enough(fd, once_bytes)) return {};
  // Reserve the addresses of the whole, then map header and data into them, and the data again.
  const std::size_t bytes = once_bytes + data_bytes;
  void* reserved = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (reserved == MAP_FAILED) return {};
  Mapping whole(static_cast<std::byte*>(reserved), bytes);
  const int flags = MAP_SHARED | MAP_FIXED;
  void* once = ::mmap(whole.base_, once_bytes, protection(access), flags, fd, 0);
  if (once == MAP_FAILED) return {};
  void* again = ::mmap(whole.base_ + once_bytes, data_bytes, protection(access), flags, fd,
                       static_cast<off_t>(header_bytes));
  if (again == MAP_FAILED) return {};
  return whole;
}

std::size_t system_page_bytes() {
  return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

std::size_t ring_header_bytes(std::size_t system_page) {
  return std::max(page_bytes, system_page);
}

Pipe make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return {};
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

UniqueFd make_memory(const char* label, std::size_t bytes) {
  UniqueFd fd(::memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) return {};
  return fd;
}

bool seal_for_readers(int fd) {
  return ::fcntl(fd, F_ADD_SEALS,
                 F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) == 0;
}

bool seal_size(int fd, bool final) {
  return ::fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | (final ? F_SEAL_SEAL : 0)) == 0;
}

std::optional<std::uint64_t> memory_bytes(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0 || status.st_size < 0) return std::nullopt;
  return static_cast<std::uint64_t>(status.st_size);
}

bool system_can_seal() {
  const UniqueFd probe = make_memory("millrace-probe", page_bytes);
  return probe && seal_for_readers(probe.get());
}

}  // namespace millrace::shm
