// Bytes and descriptors over a Unix socket: sendmsg and recvmsg with SCM_RIGHTS. Server and client
// library share it; it is the only place in core, besides the client library, that uses sockets.
//
// Thread contract: one thread for each direction of a socket.
// Invariants: each received descriptor has an owner at once, and is closed on exec; those beyond
// descriptors_max are closed by the kernel. Source: unix(7), cmsg(3).
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

// Sends as many bytes as fit, and the descriptors with the first of them. Returns the number of
// bytes sent, or -1 (see errno).
ssize_t send_with_descriptors(int socket, std::string_view bytes, std::span<const int> descriptors,
                              int flags);

// Receives bytes into `buffer`, and appends descriptors to `received`. Returns the number of bytes,
// 0 at the end of the connection, or -1 (see errno).
ssize_t receive_with_descriptors(int socket, std::span<std::byte> buffer,
                                 std::vector<UniqueFd>& received, int flags);

// The process at the other end.
struct Credentials {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
};
std::optional<Credentials> peer_credentials(int socket);

// A connected Unix stream socket; empty when that fails (see errno).
UniqueFd connect_to(const std::string& path);

}  // namespace millrace::shm
