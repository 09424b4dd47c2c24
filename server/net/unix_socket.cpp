#include "server/net/unix_socket.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

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

// Whoever holds it is the only one that looks at the socket and replaces it: one that is bound and does
// not listen yet looks like one that a killed server left. The file stays, as somebody may wait for it.
// Nothing: the lock cannot be had, and two servers that start at the same time are not kept apart. So
// it is with a file of another user, who could keep it locked and this server from its start.
shm::UniqueFd lock_start(const std::string& path) {
  constexpr int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  shm::UniqueFd lock(::open((path + ".lock").c_str(), flags, 0600));
  struct stat status {};
  if (!lock || ::fstat(lock.get(), &status) != 0 || status.st_uid != ::geteuid()) return {};
  while (::flock(lock.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return {};
  }
  return lock;
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
  const shm::UniqueFd lock = lock_start(path);
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
