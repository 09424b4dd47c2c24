// Heartbeat: whether the threads that clients depend on still do their work. The watchdog of a service
// manager must not be told by a thread that has nothing else to do.
//
// Each call posts a task to every I/O thread; one that has not run the task of the call before is
// stalled. The processor is, if something waits for it and it has finished no batch since that call.
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

  // Those that are stalled, such as "I/O thread 1, processor"; empty: none is.
  std::string stalled_threads();

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
