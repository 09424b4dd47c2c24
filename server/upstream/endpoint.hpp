// Endpoint: where a socket connects to. Resolving: a name's endpoints, found without holding up the
// thread that asks.
//
// Threads: as each says.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "server/net/io_thread.hpp"

namespace millrace::server {

struct Endpoint {
  sockaddr_storage address{};
  socklen_t bytes = 0;
};

// "127.0.0.1:1883". Any thread.
std::string to_string(const Endpoint& endpoint);

struct Resolved {
  std::vector<Endpoint> endpoints;  // in the system's order of preference
  std::string fault;                // why there are none
};

// One question. The system's resolver has no way of asking that does not block, so a thread of its
// own asks it, and is not waited for: it may take minutes. Made, and called back, on `thread`.
class Resolving {
 public:
  using Done = std::function<void(Resolved)>;

  Resolving(IoThread& thread, const std::string& host, std::uint16_t port, Done done);
  // The answer is not wanted any more.
  ~Resolving();
  Resolving(const Resolving&) = delete;
  Resolving& operator=(const Resolving&) = delete;

 private:
  // What this and the asking thread share.
  struct Question {
    std::mutex mutex;
    IoThread* thread;  // under mutex; null: nobody waits
    Done done;         // the I/O thread's
  };
  std::shared_ptr<Question> question_;
};

}  // namespace millrace::server
