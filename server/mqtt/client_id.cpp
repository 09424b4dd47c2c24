#include "server/mqtt/client_id.hpp"

#include <sys/random.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace millrace::server {

std::string random_client_id() {
  std::array<std::uint8_t, 16> bits;
  // At most 256 bytes come whole, or not at all.
  if (::getrandom(bits.data(), bits.size(), 0) != static_cast<ssize_t>(bits.size())) {
    std::perror("getrandom");
    std::abort();
  }
  constexpr char digits[] = "0123456789abcdefghijklmnopqrstuv";  // five bits each
  std::string id = "mr-";
  std::uint32_t gathered = 0;
  int count = 0;
  for (const std::uint8_t byte : bits) {
    gathered = gathered << 8 | byte;
    count += 8;
    for (; count >= 5; count -= 5) id += digits[(gathered >> (count - 5)) & 31];
  }
  id += digits[(gathered << (5 - count)) & 31];
  return id;
}

}  // namespace millrace::server
