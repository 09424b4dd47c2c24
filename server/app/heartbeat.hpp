// Heartbeat: whether the threads that clients depend on still do their work. The watchdog of a service
// manager must not be told by a thread that has nothing else to do.
//
// An I/O thread answers if it has run a task that was posted to it at the question before. The
// processor does if nothing waits for it, or it has finished a batch since then; one that never sleeps
// (processor.wait) is seen to stand only once something waits for it.
//
// Threads: one thread asks. What is posted runs on the I/O threads, and may do so after the end of
// this object.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace millrace::server {

class Heartbeat {
 public:
  // Runs a task on a thread soon.
  using Post = std::function<void(std::function<void()>)>;
  struct Processor {
    std::function<bool()> is_idle;
    std::function<std::uint64_t()> batches;
  };

  Heartbeat(std::vector<Post> threads, Processor processor);

  // Empty: all have worked, or rested, since the last call. Else who has not, such as "I/O thread 1".
  std::string who_stands();

 private:
  struct Thread {
    Post post;
    std::shared_ptr<std::atomic<bool>> answered;
  };

  std::vector<Thread> threads_;
  Processor processor_;
  std::uint64_t batches_ = 0;
};

}  // namespace millrace::server
