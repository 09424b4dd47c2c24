// The state of a pipeline (running, draining, halted), and the first exception of a handler.
//
// Thread contract: any thread.
// Invariant: running may become draining or halted, draining may become halted, and nothing else;
// the first error is kept. Stores and loads of the state are seq_cst, and the thread that changes
// it then wakes every waiting thread (Pipeline::wake_all): so no thread sleeps through a change
// (see Parker).
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <string>

namespace millrace::disruptor {

struct HandlerError {
  const std::string& stage;
  std::int64_t sequence;  // of the event, or of the first one in the handler's span
  std::exception_ptr error;
};

enum class OnError : std::uint8_t { go_on, stop };

// Called on the thread whose handler threw. It must not throw itself.
using ErrorHandler = std::function<OnError(const HandlerError&)>;

class Control {
 public:
  enum class State : std::uint8_t { running, draining, halted };

  State state() const { return state_.load(std::memory_order_seq_cst); }

  void drain() {
    State expected = State::running;
    state_.compare_exchange_strong(expected, State::draining, std::memory_order_seq_cst);
  }
  void halt() { state_.store(State::halted, std::memory_order_seq_cst); }

  OnError report(const ErrorHandler& handler, const HandlerError& error) {
    {
      std::lock_guard lock(mutex_);
      if (!first_error_) first_error_ = error.error;
    }
    return handler ? handler(error) : OnError::stop;
  }

  std::exception_ptr first_error() const {
    std::lock_guard lock(mutex_);
    return first_error_;
  }

 private:
  std::atomic<State> state_{State::running};
  mutable std::mutex mutex_;
  std::exception_ptr first_error_;
};

}  // namespace millrace::disruptor
