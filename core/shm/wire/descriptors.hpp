// Bytes and descriptors over a Unix socket: sendmsg and recvmsg with SCM_RIGHTS.
//
// Thread contract: one thread for each direction of a socket.
// What holds: a received descriptor is owned (and closed on exec) before anything else happens;
// more than fit are closed by the kernel. Source: unix(7), cmsg(3).
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/shm/ring/memory.hpp"

namespace millrace::shm {

inline constexpr std::size_t descriptors_max = 24;  // in one message

// Sends what fits, the descriptors with the first byte. Returns the bytes taken, or -1 (see errno).
ssize_t send_with_descriptors(int socket, std::string_view bytes, std::span<const int> descriptors,
                              int flags);

// Receives up to `room` bytes, and appends descriptors to `received`. 0 is the end, -1 an error.
ssize_t receive_with_descriptors(int socket, std::span<std::byte> room,
                                 std::vector<UniqueFd>& received, int flags);

// Who is at the other end.
struct Credentials {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
};
std::optional<Credentials> peer_credentials(int socket);

// A connected Unix stream socket; empty when nobody listens there.
UniqueFd connect_to(const std::string& path);

}  // namespace millrace::shm
