#include "server/net/unix_socket.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "core/shm/wire/descriptors.hpp"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83  // of all but alpha, mips, parisc and sparc
#endif

namespace millrace::server {
namespace {

std::string with_errno(const std::string& what) {
  return what + ": " + std::strerror(errno);
}

bool is_socket(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode);
}

// A socket that a killed server left behind refuses connections.
bool is_stale(const std::string& path) {
  return !shm::connect_to(path) && errno == ECONNREFUSED;
}

}  // namespace

shm::UniqueFd listen_at(const std::string& path, unsigned mode, int backlog, std::string& error) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return error = "the socket's path is empty or too long", shm::UniqueFd();
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  shm::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return error = with_errno("socket"), shm::UniqueFd();
  const auto bind = [&] {
    return ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  };
  if (!bind()) {
    if (errno != EADDRINUSE)
      return error = with_errno("cannot open the socket at " + path), shm::UniqueFd();
    // A file of another kind refuses connections too, but it is not ours to remove.
    if (!is_socket(path)) return error = path + " is not a socket", shm::UniqueFd();
    if (!is_stale(path)) {
      return error = "another server listens at " + path, shm::UniqueFd();
    }
    ::unlink(path.c_str());
    if (!bind()) return error = with_errno("cannot open the socket at " + path), shm::UniqueFd();
  }
  // Clients cannot send descriptors (Linux 6.16; accepted connections inherit it). On older kernels
  // they are closed: by the control loop, or, where nobody asks for them, by the kernel.
  const int off = 0;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof off);
  if (::chmod(path.c_str(), mode) != 0) return error = with_errno("chmod"), shm::UniqueFd();
  if (::listen(socket.get(), backlog) != 0) return error = with_errno("listen"), shm::UniqueFd();
  return socket;
}

}  // namespace millrace::server
