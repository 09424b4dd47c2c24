#include "core/shm/ring/snapshot.hpp"

#include <unistd.h>

#include <utility>

#include "core/shm/ring/copy.hpp"
#include "core/shm/ring/layout.hpp"

namespace millrace::shm {

bool Snapshot::open() {
  fd_ = make_memory("millrace-snapshot", bytes_max_);
  if (fd_) mapping_ = Mapping::map(fd_.get(), bytes_max_, Access::read_write);
  return static_cast<bool>(mapping_);
}

bool Snapshot::add(std::string_view topic, std::span<const std::byte> payload, std::uint8_t flags,
                   std::uint64_t time_ns) {
  const std::size_t bytes = frame_bytes(topic.size(), payload.size());
  if (bytes > bytes_max_ - bytes_) return false;
  if (!mapping_ && !open()) return false;
  std::byte* at = mapping_.data() + bytes_;
  store_header(
      at, {static_cast<std::uint32_t>(payload.size()), static_cast<std::uint16_t>(topic.size()),
           FrameKind::message, flags, 0, time_ns});
  copy_bytes(at + sizeof(FrameHeader), topic.data(), topic.size());
  copy_bytes(at + sizeof(FrameHeader) + topic.size(), payload.data(), payload.size());
  bytes_ += bytes;
  return true;
}

UniqueFd Snapshot::take_memory() {
  mapping_ = {};
  if (!fd_ || ::ftruncate(fd_.get(), static_cast<off_t>(bytes_)) != 0) return {};
  return seal_for_readers(fd_.get()) ? std::move(fd_) : UniqueFd{};
}

}  // namespace millrace::shm
