#include "server/app/heartbeat.hpp"

#include <utility>

namespace millrace::server {

Heartbeat::Heartbeat(std::vector<Post> threads, Processor processor)
    : processor_(std::move(processor)) {
  for (Post& post : threads) {
    threads_.push_back({std::move(post), std::make_shared<std::atomic<bool>>(true)});
  }
}

std::string Heartbeat::stalled_threads() {
  std::string names;
  const auto add = [&](const std::string& name) { names += (names.empty() ? "" : ", ") + name; };
  for (std::size_t i = 0; i < threads_.size(); ++i) {
    Thread& thread = threads_[i];
    if (!thread.answered->exchange(false, std::memory_order_relaxed)) {
      add("I/O thread " + std::to_string(i));  // it still has the task of before
      continue;
    }
    thread.post([answered = thread.answered] { answered->store(true, std::memory_order_relaxed); });
  }
  const std::uint64_t batches = processor_.batches();
  if (batches == batches_ && !processor_.is_idle()) add("processor");
  batches_ = batches;
  return names;
}

}  // namespace millrace::server
