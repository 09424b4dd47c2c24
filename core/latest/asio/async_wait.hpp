// Waiting for a topic's next value as an Asio operation. Optional: nothing else in core/ includes
// this header, and only code that includes it needs Boost.Asio.
//
//     asio::awaitable<void> follow(latest::Subscriber<Price>& prices) {
//       while (auto poll = co_await prices.async_wait()) use(poll.value());
//     }
//     auto poll = co_await (latest::async_wait(prices, asio::use_awaitable) ||
//     timer.async_wait(...)); latest::async_wait(prices, strand, [](latest::Poll<Price> poll) { ...
//     });
//
// Completion signature: void(Poll<T>). The poll is fresh, `closed`, or `nothing` after a
// cancellation.
//
// Thread contract: called on the thread (or strand) of the subscriber, on which the handler runs
// too: its associated executor, or else the one that is passed.
// Invariants: the publisher's thread only posts; a handler is called exactly once, never inside the
// call that starts the wait, unless its execution context is destroyed before: then the handler is
// destroyed without a call. The handler's cancellation slot is supported.
#pragma once

#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/execution/context.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/system_executor.hpp>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <type_traits>
#include <utility>

#include "core/latest/subscriber.hpp"

namespace millrace::latest {

namespace asio_detail {

namespace asio = boost::asio;

/// A pending wait, owned by its execution context.
class Operation {
 public:
  Operation() = default;
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

 protected:
  ~Operation() = default;

 private:
  friend class Operations;
  /// Ends the wait. False: a publisher is about to call Operations::notified() for it.
  virtual bool end_wait() noexcept = 0;
  virtual void destroy() noexcept = 0;

  Operation* next_ = nullptr;
  Operation** link_ = nullptr;  // the pointer that points to this; null while in no list
};

/// All pending waits of an execution context. May outlive the context, since publishers may still
/// use it. Any thread.
class Operations {
 public:
  /// False: the context is being destroyed.
  bool add(Operation& operation) {
    const std::lock_guard guard(mutex_);
    if (shut_down_) return false;
    link(waiting_, operation);
    return true;
  }

  /// On the publisher's thread: calls post() under a lock that keeps the context from being
  /// destroyed. If its destruction has begun, the operation is left to shut_down().
  template <typename Post>
  void notified(Operation& operation, Post&& post) {
    const std::lock_guard guard(mutex_);
    if (shut_down_) {
      link(returned_, operation);
      if (--to_return_ == 0) all_returned_.notify_one();
      return;
    }
    unlink(operation);
    post();
  }

  void shut_down() {
    Operation* ended = nullptr;
    {
      std::unique_lock guard(mutex_);
      shut_down_ = true;
      while (waiting_ != nullptr) {
        Operation& operation = *waiting_;
        unlink(operation);
        if (operation.end_wait()) {
          link(ended, operation);
        } else {
          ++to_return_;
        }
      }
      all_returned_.wait(guard, [this] { return to_return_ == 0; });
    }
    destroy_all(ended);
    destroy_all(returned_);
  }

 private:
  static void link(Operation*& first, Operation& operation) noexcept {
    operation.next_ = first;
    operation.link_ = &first;
    if (first != nullptr) first->link_ = &operation.next_;
    first = &operation;
  }
  static void unlink(Operation& operation) noexcept {
    *operation.link_ = operation.next_;
    if (operation.next_ != nullptr) operation.next_->link_ = operation.link_;
    operation.link_ = nullptr;
  }
  static void destroy_all(Operation*& first) noexcept {
    while (first != nullptr) {
      Operation& operation = *first;
      unlink(operation);
      operation.destroy();
    }
  }

  std::mutex mutex_;
  std::condition_variable all_returned_;
  bool shut_down_ = false;
  int to_return_ = 0;  // publishers that are about to call notified()
  Operation* waiting_ = nullptr;
  Operation* returned_ = nullptr;
};

class Service final : public asio::execution_context::service {
 public:
  inline static asio::execution_context::id id;

  explicit Service(asio::execution_context& context) : asio::execution_context::service(context) {}
  [[nodiscard]] const std::shared_ptr<Operations>& operations() const noexcept {
    return operations_;
  }

 private:
  void shutdown() override { operations_->shut_down(); }

  const std::shared_ptr<Operations> operations_ = std::make_shared<Operations>();
};

template <typename T, typename Handler, typename Executor>
class WaitOperation final : public Operation, private ValueWaiter<T> {
 public:
  WaitOperation(Subscriber<T>& subscriber, Handler handler, const Executor& executor)
      : ValueWaiter<T>(subscriber),
        operations_(asio::use_service<Service>(asio::query(executor, asio::execution::context))
                        .operations()),
        handler_(std::move(handler)),
        work_(executor) {}
  // First detach from the subscriber, which the handler may own.
  ~WaitOperation() { this->abandon(); }

  static void begin(Subscriber<T>& subscriber, Handler handler, const Executor& executor) {
    auto operation = std::make_unique<WaitOperation>(subscriber, std::move(handler), executor);
    auto slot = asio::get_associated_cancellation_slot(operation->handler_);
    if (slot.is_connected()) {
      // Before the operation is in the list, since this may throw. The slot is cleared before the
      // operation is destroyed.
      slot.assign([begun = operation.get()](asio::cancellation_type) { begun->stop(); });
    }
    if (!operation->operations_->add(*operation)) {
      if (slot.is_connected()) slot.clear();
      return;
    }
    // From here on its context owns it: through the list, or through the posted function.
    WaitOperation& begun = *operation.release();
    if (!begun.start()) begun.resume();
  }

 private:
  struct Complete {
    std::unique_ptr<WaitOperation> operation;
    void operator()() {
      Poll<T> poll = operation->finish();
      auto slot = asio::get_associated_cancellation_slot(operation->handler_);
      if (slot.is_connected()) slot.clear();
      Handler handler = std::move(operation->handler_);
      operation.reset();
      std::move(handler)(std::move(poll));
    }
  };

  void resume() noexcept override {
    const std::shared_ptr<Operations> operations = operations_;
    operations->notified(*this, [this] {
      // A copy: the operation may have been completed before post() returns.
      const Executor executor = work_.get_executor();
      asio::post(executor, Complete{std::unique_ptr<WaitOperation>(this)});
    });
  }
  bool end_wait() noexcept override { return this->abandon(); }
  void destroy() noexcept override { delete this; }

  const std::shared_ptr<Operations> operations_;
  Handler handler_;
  const asio::executor_work_guard<Executor> work_;
};

}  // namespace asio_detail

/// Waits for the subscriber's next value; the subscriber must not be moved meanwhile. The handler
/// runs on its associated executor, or on `executor` if it has none.
template <typename T, typename Executor, typename Token>
requires(boost::asio::execution::is_executor<Executor>::value) auto async_wait(
    Subscriber<T>& subscriber, const Executor& executor, Token&& token) {
  return boost::asio::async_initiate<Token, void(Poll<T>)>(
      [&subscriber, executor](auto handler) {
        const auto where = boost::asio::get_associated_executor(handler, executor);
        using Where = std::remove_const_t<decltype(where)>;
        using Operation = asio_detail::WaitOperation<T, decltype(handler), Where>;
        Operation::begin(subscriber, std::move(handler), where);
      },
      token);
}

/// The same for handlers that have an associated executor, as a coroutine's has.
template <typename T, boost::asio::completion_token_for<void(Poll<T>)> Token>
auto async_wait(Subscriber<T>& subscriber, Token&& token) {
  return async_wait(subscriber, boost::asio::system_executor(), std::forward<Token>(token));
}

/// For `co_await subscriber.async_wait()` in an asio::awaitable: see NextValue.
template <typename T, boost::asio::completion_token_for<void(Poll<T>)> Token>
auto initiate_async_wait(Subscriber<T>& subscriber, Token&& token) {
  return async_wait(subscriber, std::forward<Token>(token));
}

}  // namespace millrace::latest
