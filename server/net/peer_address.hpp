// Who is at the other end of a socket. Any thread.
#pragma once

#include <string>

namespace millrace::server {

struct PeerAddress {
  std::string host = "unknown";
  int port = 0;
};

PeerAddress peer_address(int fd);
// It sends nothing more, or is gone; whatever it sent before, read or not.
bool peer_has_left(int fd);

}  // namespace millrace::server
